package browser

import (
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/e2e"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
)

// TestCustodiansRekeyWhileTheLeaderDies: three custodians in three browsers, each on another node,
// make new recovery shares with verification. The leader is killed after the first share, and again
// between the new shares and their verification.
func TestCustodiansRekeyWhileTheLeaderDies(t *testing.T) {
	t.Parallel()
	store := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	c := e2e.NewCluster(t, binary, func(int) string {
		return "ui = true\n" + e2e.OnEtcd(store.Direct[0])
	}, 3)
	c.Begin()
	browser := newBrowser(t)

	operator := newVisitor(t, browser, c.Nodes[0].URL())
	operator.login(c.Root)
	operator.open("/ui/ceremonies")
	operator.submit("form[action='/ui/do/ceremonies/recovery']", map[string]string{
		"secret_shares": "3", "secret_threshold": "2", "holders": "alice\nbob\ncarol"})
	operator.sees("The ceremony has begun.")

	leader := c.Leader(-1)
	others := c.Others(leader)
	alice := newVisitor(t, browser, c.Nodes[leader].URL())
	bob := newVisitor(t, browser, c.Nodes[others[0]].URL())
	carol := newVisitor(t, browser, c.Nodes[others[1]].URL())
	give := "form[action='/ui/ceremony/recovery/share']"
	verify := "form[action='/ui/ceremony/recovery/verify']"
	bob.open("/ui/ceremony/recovery")
	bob.sees("0 of 2 shares given")
	bob.check("ceremony")
	alice.open("/ui/ceremony/recovery")
	alice.submit(give, map[string]string{"share": strings.Repeat("ab", 33)})
	if text := alice.text(); strings.Contains(text, "Receipt") || !strings.Contains(text, "0 of 2 shares given") {
		t.Errorf("a wrong share: %s", text)
	}
	alice.check("ceremony-wrong-share")
	alice.submit(give, map[string]string{"share": c.Keys[0]})
	alice.sees("Receipt: your share was accepted")
	alice.check("ceremony-receipt")
	bob.sees("1 of 2 shares given") // without reloading

	if err := c.Nodes[leader].Kill(); err != nil {
		t.Fatal(err)
	}
	c.Leader(leader)
	bob.open("/ui/ceremony/recovery")
	bob.sees("1 of 2 shares given")
	bob.submit(give, map[string]string{"share": c.Keys[1]})
	bob.sees("the new shares are below")
	bob.sees("They are shown once.")
	bob.check("ceremony-new-shares")
	shares := bob.texts("pre.share-out")
	if len(shares) != 3 {
		t.Fatalf("%d new shares", len(shares))
	}

	if err := c.Nodes[leader].Start(); err != nil {
		t.Fatal(err)
	}
	c.Settled()
	second := c.Leader(-1)
	if err := c.Nodes[second].Kill(); err != nil {
		t.Fatal(err)
	}
	c.Leader(second)
	if second == others[1] {
		carol = newVisitor(t, browser, c.Nodes[others[0]].URL())
	}
	carol.open("/ui/ceremony/recovery")
	carol.sees("0 of 2 new shares verified")
	carol.submit(verify, map[string]string{"share": shares[2]})
	carol.sees("your new share is right")
	carol.check("ceremony-verify")
	carol.submit(verify, map[string]string{"share": shares[0]})
	carol.sees("the new shares are in force now")
	carol.open("/ui/prove")
	carol.submit("form[action='/ui/prove']", map[string]string{"share": shares[1]})
	carol.sees("Your share is valid.")
	carol.sees("of bob")
	carol.check("proven")
	carol.submit("form[action='/ui/prove']", map[string]string{"share": c.Keys[1]})
	if text := carol.text(); strings.Contains(text, "Your share is valid.") {
		t.Errorf("an old share is valid: %s", text)
	}
	for i, n := range c.Nodes {
		for _, share := range append(shares, c.Keys...) {
			if strings.Contains(n.Log(), share) {
				t.Errorf("node %d logs a share", i)
			}
		}
	}
}
