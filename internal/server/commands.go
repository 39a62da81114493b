package server

import "github.com/sealgate/sealgate/internal/cli"

// Commands are the commands of the program that need more than a client does.
func Commands(env cli.Env) map[string]func() cli.Command {
	return map[string]func() cli.Command{
		"doctor":           func() cli.Command { return &doctorCommand{env: env} },
		"doctor xks":       func() cli.Command { return &doctorXKSCommand{env: env} },
		"server":           func() cli.Command { return &serverCommand{env: env} },
		"quickstart":       func() cli.Command { return &quickstartCommand{env: env} },
		"softhsm exec":     func() cli.Command { return &softhsmExecCommand{env: env} },
		"softhsm init":     func() cli.Command { return &softhsmCommand{env: env} },
		"kms-plugin":       func() cli.Command { return &pluginCommand{env: env} },
		"kms-plugin check": func() cli.Command { return &pluginCheckCommand{env: env} },
		"operator migrate": func() cli.Command { return &migrateCommand{env: env} },

		"operator snapshot reseal": func() cli.Command { return &resealCommand{env: env} },

		"seal kmip create-key": func() cli.Command { return &kmipKeyCommand{env: env} },
	}
}
