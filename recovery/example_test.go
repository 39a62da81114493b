package recovery_test

import (
	"fmt"
	"log"
	"time"

	"github.com/sealgate/sealgate/recovery"
)

// This example splits a key among five holders, of whom any three restore it.
func ExampleSplit() {
	key := recovery.NewSecret([]byte("0123456789abcdef0123456789abcdef"))
	defer key.Destroy()
	shares, err := recovery.Split(key, 5, 3, nil)
	if err != nil {
		log.Fatal(err)
	}
	restored, err := recovery.Combine(shares[1:4])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(restored.Equal(key))
	fmt.Println(shares[0]) // a share does not print
	// Output:
	// true
	// [secret]
}

// This example keeps a record that verifies each share when its holder submits it, and the key that
// the shares combine to.
func ExampleShareSet() {
	set, shares, err := recovery.NewShareSet(recovery.Recovery, nil, 3, 2, nil, time.Now())
	if err != nil {
		log.Fatal(err)
	}
	if err := set.NameHolders([]string{"alice", "bob", "carol"}); err != nil {
		log.Fatal(err)
	}
	number, err := set.Identify(shares[2])
	fmt.Println(set.Describe(number), err)

	_, err = set.Identify(recovery.NewSecret([]byte("a share of another set, 33 bytes.")))
	fmt.Println(err)

	key, err := recovery.Combine(shares[:2])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(set.VerifyKey(key))
	// Output:
	// carol, share 3 <nil>
	// share rejected: it is not one of the current shares
	// true
}

// This example authorises new shares by two of three old ones.
func ExampleCeremony() {
	now := time.Now()
	set, shares, err := recovery.NewShareSet(recovery.Recovery, nil, 3, 2, nil, now)
	if err != nil {
		log.Fatal(err)
	}
	c, err := recovery.Start(recovery.PurposeRekeyRecovery, set,
		recovery.Params{Shares: 5, Threshold: 3}, recovery.Origin{By: "token-ops", Now: now})
	if err != nil {
		log.Fatal(err)
	}
	for _, share := range shares[:2] {
		number, err := c.Give(set, c.Nonce, share, now)
		fmt.Println(number, err, c.Authorised())
	}
	next, fresh, err := recovery.NewShareSet(recovery.Recovery, set, 5, 3, nil, now)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(next.Generation, len(fresh))
	// Output:
	// 1 <nil> false
	// 2 <nil> true
	// 2 5
}
