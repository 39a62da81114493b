//go:build !linux && !windows

package worker

import (
	"errors"
	"os"
	"sync/atomic"
)

// ring needs Linux. Without one, all frames go through the socket.
type ring struct{ file *os.File }

// Sizes without a ring.
const (
	ringSlots = 0
	ringFrame = 0

	slotFree      = 0
	slotRequested = 1
	slotTaken     = 2
	slotDone      = 3
)

func newRing() (*ring, error)         { return nil, nil }
func mapRing(*os.File) (*ring, error) { return nil, errors.New("this system has no ring") }

func (*ring) sent()                       {}
func (*ring) parentPolls() *atomic.Uint32 { return nil }
func (*ring) childPolls() *atomic.Uint32  { return nil }
func (*ring) inUse() *atomic.Uint32       { return nil }
func (*ring) state(int) *atomic.Uint32    { return nil }
func (*ring) request(int) []byte          { return nil }
func (*ring) response(int) []byte         { return nil }
func frameIn([]byte) []byte               { return nil }
func osYield()                            {}
