storage "inmem" {}
listener "tcp" { tls_disable = true }
pid_file = "x.pid"
audit "file" {}
audit "http" "a" { options { uri = "https://example.com" } }
audit "file" "b" {}
audit "file" "c" { options { file_path = "c.log", prefix = "x" } }
audit "file" "d" { options { file_path = "d.log", mode = "rw" } }
audit "file" "d" { options { file_path = "d.log" } }
audit "socket" "e" { options { address = "nowhere" } }
audit "syslog" "f" { options { facility = "attic" } }
audit "file" "g/../h" { options { file_path = "g.log" } }
audit "file" "i" { options { file_path = "i.log", fallback = "true" } }
audit "file" "j" { option { file_path = "j.log" } }
unsafe_allow_api_audit_creation = "perhaps"
