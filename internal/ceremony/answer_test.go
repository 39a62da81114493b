package ceremony

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
)

func testShares(t testing.TB) (*recovery.ShareSet, []*secret.Bytes) {
	t.Helper()
	set, shares, err := recovery.NewShareSet(recovery.Recovery, nil, 3, 2, rand.Reader, time.Unix(1000, 0))
	if err != nil {
		t.Fatal(err)
	}
	return set, shares
}

func testReply() *RekeyResult {
	return &RekeyResult{
		Nonce: "n1", Shares: 2, Threshold: 2, VerificationRequired: true, VerificationNonce: "v1",
		Keys:            []*secret.Bytes{secret.New([]byte("new share one")), secret.New([]byte("new share two"))},
		PGPFingerprints: []string{"ab", "cd"},
	}
}

// TestKeptAnswerIsItsHoldersAlone: a client that can read behind the barrier sees no new share, and
// no other share or nonce opens the answer.
func TestKeptAnswerIsItsHoldersAlone(t *testing.T) {
	t.Parallel()
	set, shares := testShares(t)
	number, err := set.Identify(shares[1])
	if err != nil {
		t.Fatal(err)
	}
	a := &answer{purpose: recovery.PurposeRekeyRecovery, made: time.Unix(1001, 0).UTC(), number: number, authority: set}
	if err := a.seal(testReply(), shares[1]); err != nil {
		t.Fatal(err)
	}
	record, err := a.marshal()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(record, []byte("new share")) || bytes.Contains(record, []byte("n1")) {
		t.Error("the stored answer shows the new shares or the nonce")
	}
	again, err := unmarshalAnswer(recovery.PurposeRekeyRecovery, record)
	if err != nil {
		t.Fatal(err)
	}
	reply := again.open("n1", shares[1])
	if reply == nil || len(reply.Keys) != 2 || string(reply.Keys[1].Expose()) != "new share two" ||
		reply.VerificationNonce != "v1" || !reply.VerificationRequired || reply.PGPFingerprints[1] != "cd" {
		t.Fatalf("the holder gets %+v", reply)
	}
	if again.open("n2", shares[1]) != nil || again.open("n1", shares[0]) != nil {
		t.Error("another share or nonce opens the answer")
	}
	moved, err := unmarshalAnswer(recovery.PurposeGenerateRoot, record)
	if err != nil || moved.open("n1", shares[1]) != nil {
		t.Errorf("the answer opens for another purpose: %v", err)
	}
}

// TestAnswerOfAnOlderProgram: a reply that was kept before an upgrade still reaches its holder.
func TestAnswerOfAnOlderProgram(t *testing.T) {
	t.Parallel()
	set, shares := testShares(t)
	plain, err := testReply().marshal()
	if err != nil {
		t.Fatal(err)
	}
	nonce, rest := plain[:3], plain[3:]
	b := cryptobyte.NewBuilder([]byte{1, 0, 0, 0, 0, 0, 0, 0, 9})
	b.AddBytes(nonce)
	b.AddUint8(1)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(set.Marshal()) })
	b.AddBytes(rest)
	a, err := unmarshalAnswer(recovery.PurposeRekeyRecovery, b.BytesOrPanic())
	if err != nil {
		t.Fatal(err)
	}
	if r := a.open("n1", shares[0]); r == nil || len(r.Keys) != 2 {
		t.Errorf("the holder gets %+v", r)
	}
	if a.open("n2", shares[0]) != nil || a.open("n1", shares[1]) != nil {
		t.Error("another share or nonce opens the answer")
	}
}

func FuzzAnswer(f *testing.F) {
	set, shares := testShares(f)
	a := &answer{purpose: recovery.PurposeRekeyRecovery, number: 1, authority: set}
	if err := a.seal(testReply(), shares[0]); err != nil {
		f.Fatal(err)
	}
	record, err := a.marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, record []byte) {
		a, err := unmarshalAnswer(recovery.PurposeRekeyRecovery, record)
		if err != nil || a.plain != nil {
			return
		}
		again, err := a.marshal()
		if err != nil || !bytes.Equal(again, record) {
			t.Errorf("%x became %x, %v", record, again, err)
		}
	})
}
