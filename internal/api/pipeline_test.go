package api

import (
	"testing"

	"github.com/sealgate/sealgate/internal/mount"
)

func TestOperationNames(t *testing.T) {
	t.Parallel()
	for op := mount.Read; op <= mount.Scan; op++ {
		if got := capabilities[op].String(); got != op.String() {
			t.Errorf("%s needs %s", op, got)
		}
	}
}
