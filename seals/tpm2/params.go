package tpm2

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/internal/remote"
)

const (
	defaultDevice = "/dev/tpmrm0"
	maxPIN        = 32 // bytes: the digest of SHA-256 bounds an authorisation value
	maxLabel      = 32
)

// settings is a parsed stanza.
type settings struct {
	device  string
	label   string
	pcrs    uint32
	pin     *seals.Secret
	last    bool // use the PIN's last try
	timeout time.Duration
}

func parse(cfg seals.Config) (settings, error) {
	p := seals.NewParams(cfg, "SEALGATE_TPM2_")
	o := settings{device: cmp.Or(p.Get("device"), defaultDevice), label: p.Get("key_label")}
	pcrs, last, timeout := p.Get("pcrs"), p.Get("pin_final_try"), p.Get("timeout")
	p.Get("pin")
	if err := p.Check(); err != nil {
		return settings{}, err
	}
	var err1, err2, err3 error
	o.pcrs, err1 = registers(pcrs)
	o.timeout, err2 = remote.Timeout(timeout)
	if last != "" {
		if o.last, err3 = strconv.ParseBool(last); err3 != nil {
			err3 = fmt.Errorf("pin_final_try = %q: it must be true or false", last)
		}
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return settings{}, err
	}
	if path := strings.TrimPrefix(o.device, "unix:"); !strings.HasPrefix(path, "/") {
		return settings{}, errors.New("device must be an absolute path, such as /dev/tpmrm0, or unix: and the path of " +
			"a virtual TPM's socket")
	}
	if len(o.label) > maxLabel {
		return settings{}, fmt.Errorf("key_label has %d bytes; the limit is %d", len(o.label), maxLabel)
	}
	pin, err := p.Secret("pin")
	if err != nil {
		return settings{}, err
	}
	if pin.Len() > maxPIN {
		pin.Destroy()
		return settings{}, fmt.Errorf("the pin has %d bytes; the limit of a TPM is %d", pin.Len(), maxPIN)
	}
	o.pin = pin
	return o, nil
}

// registers parses "sha256:0,7" or "0,7".
func registers(v string) (mask uint32, err error) {
	v = strings.TrimPrefix(v, "sha256:")
	if v == "" {
		return 0, nil
	}
	for part := range strings.SplitSeq(v, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 0 || n > 23 {
			return 0, fmt.Errorf("pcrs = %q: it must be numbers from 0 to 23 with commas between them, of the bank "+
				"sha256, such as \"0,7\"", v)
		}
		mask |= 1 << n
	}
	return mask, nil
}

// list is the numbers of the registers in a mask.
func list(mask uint32) (out []uint) {
	for n := range uint(24) {
		if mask&(1<<n) != 0 {
			out = append(out, n)
		}
	}
	return out
}
