package server

import (
	hcli "github.com/hashicorp/cli"

	"github.com/sealgate/sealgate/internal/cli"
)

// Commands are the commands of the program that need more than a client does.
func Commands(env cli.Env) map[string]hcli.CommandFactory {
	return map[string]hcli.CommandFactory{
		"doctor":           func() (hcli.Command, error) { return &doctorCommand{env: env}, nil },
		"server":           func() (hcli.Command, error) { return &serverCommand{env: env}, nil },
		"softhsm init":     func() (hcli.Command, error) { return &softhsmCommand{env: env}, nil },
		"operator migrate": func() (hcli.Command, error) { return &migrateCommand{env: env}, nil },
	}
}
