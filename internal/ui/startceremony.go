package ui

import "net/http"

// startPage starts and cancels ceremonies.
func startPage() *page {
	rekey := func(name, title, path, target, cli string) action {
		return action{
			Name: name, Title: title, Path: path, CLI: cli,
			Intro: "Custodians then give their " + target + " on the ceremony's page; this page needs no share.",
			Fields: []field{
				{Name: "secret_shares", Label: "Shares", Kind: "number", Required: true, Value: "5"},
				{Name: "secret_threshold", Label: "Threshold", Kind: "number", Required: true, Value: "3",
					Hint: "How many shares act together."},
				{Name: "holders", Label: "Holders", Kind: "lines",
					Hint: "One name a line, in the order of the shares. May be empty."},
				{Name: "pgp_keys", Label: "Keys of the holders", Kind: "blocks",
					Hint: "One for each share: a PGP public key in armour or base64, or an age recipient a line. " +
						"Without keys, the holder who gives the last share sees all new shares."},
				{Name: "require_verification", Label: "Verify the new shares before they count", Kind: "flag", Value: "on"},
				{Name: "backup", Label: "Keep the encrypted shares on the server too", Kind: "flag"},
			},
			Done: "The ceremony has begun. Give its page to the custodians.",
		}
	}
	cancel := func(name, title, path, cli string) action {
		return action{Name: name, Title: title, Path: path, Method: http.MethodDelete, CLI: cli, Danger: true,
			Confirm: "cancel", Done: "The ceremony was cancelled. The present shares stay in force."}
	}
	return &page{
		slug: "ceremonies", title: "start a ceremony", group: "operate",
		intro: "A ceremony collects shares from a quorum of custodians. All of them see the same progress.",
		cli:   []string{"sealgate operator rekey -init -target=recovery"},
		load:  loadCeremonies,
		actions: []action{
			rekey("recovery", "New recovery shares", "sys/rekey-recovery-key/init", "recovery shares",
				"sealgate operator rekey -init -target=recovery -key-shares=<secret_shares> -key-threshold=<secret_threshold>"),
			rekey("unseal", "New unseal shares", "sys/rekey/init", "unseal shares",
				"sealgate operator rekey -init -key-shares=<secret_shares> -key-threshold=<secret_threshold>"),
			{
				Name: "root", Title: "A new root token", Path: "sys/generate-root/attempt",
				CLI: "sealgate operator generate-root -init", Result: "otp",
				Intro: "The quorum makes a token that may do everything. You get a one-time password, and later need it " +
					"to decode the token.",
				Fields: []field{{Name: "pgp_key", Label: "PGP key", Kind: "area", omit: true,
					Hint: "Encrypts the token, in place of a one-time password. May be empty."}},
			},
			{
				Name: "break-glass", Title: "Enrolment for break-glass", Path: "sys/break-glass/enroll/attempt", Sudo: true,
				CLI: "sealgate operator break-glass enroll -init",
				Intro: "The custodians' recovery shares can decrypt from then on, so that the data survives the loss of every " +
					"seal. They give their shares on the ceremony's page.",
				Done: "The ceremony has begun. Give its page to the custodians: /ui/ceremony/break-glass-enroll",
			},
			cancel("cancel-recovery", "Cancel: new recovery shares", "sys/rekey-recovery-key/init",
				"sealgate operator rekey -cancel -target=recovery"),
			cancel("cancel-unseal", "Cancel: new unseal shares", "sys/rekey/init", "sealgate operator rekey -cancel"),
			cancel("cancel-root", "Cancel: a new root token", "sys/generate-root/attempt",
				"sealgate operator generate-root -cancel"),
		},
	}
}

// startData is the page of ceremonies: those under way, the holders, and the records.
type startData struct {
	Running []ceremonyData
	Sets    map[string]holderSet
}

type holderSet struct {
	Created    string
	Generation int
	Shares     int
	Threshold  int
	Holders    []struct {
		Name       string
		Number     int
		LastProven string `json:"last_proven"`
	}
}

func loadCeremonies(q *query) (any, error) {
	var d startData
	for _, k := range kinds {
		var p progress
		if q.get(k.Path+"/"+k.Start, &p) == nil && p.Started {
			d.Running = append(d.Running, ceremonyData{Kind: k, Progress: p})
		}
	}
	err := q.get("sys/recovery/holders", &d.Sets)
	return d, err
}
