storage "inmem" {}
log_level = "info"
