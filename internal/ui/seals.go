package ui

// sealsData is the page of seals: their state here, and what the cluster survives.
type sealsData struct {
	*sealStatus
	List struct {
		Policy     string
		Losses     []string
		Survives   string `json:"survives_text"`
		Members    []struct{ Name string }
		Candidates []struct{ Name, Type string }
		Nodes      []struct {
			Node   string
			Active bool
			Note   string
		}
	}
	Forecast forecast
}

// forecast is sys/seals/forecast.
type forecast struct {
	Text           string
	WouldUnseal    bool     `json:"would_unseal"`
	AllNodes       bool     `json:"all_nodes"`
	CriticalLosses []string `json:"critical_losses"`
	Expires        []struct{ Seal, What, At, Node string }
	Nodes          []struct {
		Node        string
		Active      bool
		WouldUnseal bool `json:"would_unseal"`
		Cause       string
	}
}

func sealsPage() *page {
	return &page{
		slug: "seals", title: "seals", group: "operate",
		intro: "Each seal protects the root key on its own. A restart needs as many of them as the policy says.",
		cli:   []string{"sealgate operator seals list", "sealgate operator forecast"},
		load: func(q *query) (any, error) {
			s, err := q.sealStatus()
			if err != nil {
				return nil, err
			}
			d := sealsData{sealStatus: s}
			if err := q.get("sys/seals/forecast", &d.Forecast); err != nil {
				return d, err
			}
			err = q.get("sys/seals", &d.List)
			return d, err
		},
		actions: sealActions(),
	}
}

func sealActions() []action {
	name := field{Name: "name", Label: "Seal", Kind: "text", Required: true, Hint: "Its name in the configuration."}
	return []action{
		{
			Name: "verify", Title: "Prove all seals now", Path: "sys/seals/verify", Sudo: true,
			Intro: "Each seal decrypts what it protects, and the result is shown above.",
			CLI:   "sealgate operator seals verify", Done: "The seals were asked; the result is on the page.",
		},
		{
			Name: "rewrap", Title: "Wrap the root key again", Path: "sys/seals/rewrap", Sudo: true,
			Intro: "Wraps the root key with the newest version of each seal's key. Data stays as it is.",
			CLI:   "sealgate operator seals rewrap", Done: "The root key was wrapped again by each seal.",
		},
		{
			Name: "add", Title: "Add a seal", Path: "sys/seals/add", Sudo: true, Fields: []field{name}, Result: "change",
			Intro: "Put its stanza into the configuration of every node, and send each a SIGHUP. The seal is added once " +
				"every node has proven that it can use it; until then, send this form again.",
			CLI: "sealgate operator seals add <name>",
		},
		{
			Name: "policy", Title: "Change the policy", Path: "sys/seals/policy", Sudo: true, Result: "change",
			Intro: "To need fewer seals takes a quorum of shares: start the ceremony with sealgate operator authorize " +
				"-purpose=seals -init -change=\"policy <threshold>\".",
			CLI: "sealgate operator seals policy '<policy>'",
			Fields: []field{{Name: "policy", Label: "Policy", Kind: "text", Required: true,
				Hint: "Each member once: any of them is any(hsm, kms), two of three is 2 of (hsm, kms, custodians), groups are " +
					"any(hsm_a, hsm_b) and kms."}},
		},
		{
			Name: "rotate-key", Title: "Replace a seal's key", Path: "sys/seals/rotate-key", Sudo: true,
			Fields: []field{name}, Result: "change", CLI: "sealgate operator seals rotate-key <name>",
			Intro: "Makes a new key, or a new version, in the device or service, and wraps the root key with it once every " +
				"node has proven it. The old one stays readable for older snapshots.",
		},
		{
			Name: "retire", Title: "End the use of an old key", Path: "sys/seals/retire", Sudo: true, Danger: true,
			Confirm: "retire", Result: "change", CLI: "sealgate operator seals retire <name> -key=<key>",
			Intro: "The answer names the snapshots that still need the key.",
			Fields: []field{name, {Name: "key", Label: "Id or version of the old key", Kind: "text", omit: true,
				Hint: "Empty: the only one."}},
		},
		{
			Name: "remove", Title: "Remove a seal", Path: "sys/seals/remove", Sudo: true, Danger: true, Confirm: "remove",
			Intro: "Needs a quorum of shares: start the ceremony with sealgate operator authorize -purpose=seals -init " +
				"-change=\"remove <name>\". Older snapshots still need this seal.",
			CLI: "sealgate operator seals remove <name>", Fields: []field{name}, Result: "change",
		},
		{
			Name: "seal", Title: "Seal this server", Path: "sys/seal", Sudo: true, Danger: true, Confirm: "seal",
			Intro: "Stops serving at once. An automatic seal does not open it again until a restart.",
			CLI:   "sealgate operator seal", Done: "The server is sealed.",
		},
	}
}
