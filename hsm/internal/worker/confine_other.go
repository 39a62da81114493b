//go:build !linux && !windows

package worker

import "errors"

func harden() {}

// confine refuses what was configured and this system cannot do.
func confine(c setup) (string, error) {
	if !c.network || c.paths != nil {
		return "", errors.New("network = false and allow_paths need Linux")
	}
	return "process", nil
}
