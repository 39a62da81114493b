pid_file = "x.pid"
