package ui

// tokenRow is one token.
type tokenRow struct {
	Accessor    string
	DisplayName string `json:"display_name"`
	Policies    []string
	TTL         int64  `json:"ttl"`
	ExpireTime  string `json:"expire_time"`
	Orphan      bool
	Type        string
}

// shownTokens bounds the lookups of the tokens' page.
const shownTokens = 50

func tokensPage() *page {
	return &page{
		slug: "tokens", title: "tokens", group: "access",
		intro: "A token carries policies and ends with its time. Revoking one revokes its children.",
		cli:   []string{"sealgate list auth/token/accessors", "sealgate token lookup -accessor ACCESSOR"},
		load:  loadTokens,
		actions: []action{
			{
				Name: "create", Title: "Create a token", Path: "auth/token/create",
				CLI: "sealgate token create -policy=<policies> -ttl=<ttl> -display-name=<display_name>", Result: "token",
				Fields: []field{
					{Name: "policies", Label: "Policies", Kind: "lines", Required: true, Hint: "One a line."},
					{Name: "ttl", Label: "Time to live", Kind: "text", Value: "1h", Hint: "Such as 30m, 24h."},
					{Name: "display_name", Label: "Name in the audit log", Kind: "text", omit: true},
					{Name: "num_uses", Label: "Uses", Kind: "number", Hint: "Empty: no limit."},
				},
			},
			{
				Name: "revoke", Title: "Revoke", Path: "auth/token/revoke-accessor", Row: true, Danger: true,
				CLI: "sealgate token revoke -accessor <accessor>", Done: "The token and its children are revoked.",
				Fields: []field{{Name: "accessor", Label: "Accessor", Kind: "hidden", Required: true}},
			},
		},
	}
}

func loadTokens(q *query) (any, error) {
	var d struct {
		Self   tokenRow
		Tokens []tokenRow
		More   int
	}
	if err := q.get("auth/token/lookup-self", &d.Self); err != nil {
		return d, err
	}
	all, err := q.list("auth/token/accessors")
	if err != nil {
		return d, err
	}
	if len(all) > shownTokens {
		d.More = len(all) - shownTokens
		all = all[:shownTokens]
	}
	for _, accessor := range all {
		var t tokenRow
		if q.post("auth/token/lookup-accessor", map[string]any{"accessor": accessor}, &t) == nil {
			d.Tokens = append(d.Tokens, t) // others expired meanwhile
		}
	}
	return d, nil
}
