package recipient

import (
	"bytes"
	//lint:ignore SA1019 a hostile key has it
	"crypto/dsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// mpi is a number as OpenPGP writes it (RFC 9580, 3.2).
func mpi(n *big.Int) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(n.BitLen())), n.Bytes()...)
}

// odd is an odd number of so many bits, all of them set.
func odd(bits uint) *big.Int {
	return new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), bits), big.NewInt(1))
}

// hostileDSA is a key whose signatures take so long to check as its numbers are large. Nobody needs
// a private key for it: the signatures are wrong, but to see that takes the work.
func hostileDSA(t *testing.T, bits uint, signatures int) []byte {
	t.Helper()
	pub := packet.NewDSAPublicKey(now.Add(-time.Hour), &dsa.PublicKey{
		Parameters: dsa.Parameters{P: odd(bits), Q: odd(bits - bits%8), G: odd(bits - 1)}, Y: odd(bits - 2)})
	var out, body bytes.Buffer
	if err := pub.Serialize(&out); err != nil {
		t.Fatal(err)
	}
	id := packet.NewUserId("mallory", "", "")
	if err := id.Serialize(&out); err != nil {
		t.Fatal(err)
	}
	if err := pub.SerializeForHash(&body); err != nil {
		t.Fatal(err)
	}
	body.Write(binary.BigEndian.AppendUint32([]byte{0xb4}, uint32(len(id.Id))))
	body.WriteString(id.Id)
	for i := range signatures {
		made := binary.BigEndian.AppendUint32(nil, uint32(now.Unix()-int64(i)))
		hashed := append([]byte{5, 2}, made...) // the time
		hashed = append(hashed, 9, 16)          // the issuer
		hashed = binary.BigEndian.AppendUint64(hashed, pub.KeyId)
		head := append([]byte{4, byte(packet.SigTypePositiveCert), byte(packet.PubKeyAlgoDSA), 8, 0, byte(len(hashed))},
			hashed...)
		sum := sha256.New()
		sum.Write(body.Bytes())
		sum.Write(head)
		sum.Write(binary.BigEndian.AppendUint32([]byte{4, 0xff}, uint32(len(head))))
		sig := append(append(head, 0, 0), sum.Sum(nil)[:2]...)
		sig = append(append(sig, mpi(big.NewInt(3))...), mpi(big.NewInt(2))...)
		out.Write([]byte{0xc2, 0xff})
		out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(sig))))
		out.Write(sig)
	}
	return out.Bytes()
}

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// TestHostileKeysCostNothing: anybody may give a key to sys/generate-root/attempt. One whose
// numbers are as long as OpenPGP allows would take a processor for hours, since its signatures are
// checked first.
func TestHostileKeysCostNothing(t *testing.T) {
	t.Parallel()
	refused := make(chan error, 1)
	go func() {
		_, err := newPGP(hostileDSA(t, 65535, 100), now)
		refused <- err
	}()
	select {
	case err := <-refused:
		if !errors.Is(err, ErrCannotEncrypt) {
			t.Errorf("%v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the key keeps a processor busy")
	}
}
