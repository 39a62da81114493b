//lint:file-ignore SA1019 the deprecated calls are what unmodified programs make

package e2e

import (
	vault "github.com/hashicorp/vault/api"
	bao "github.com/openbao/openbao/api/v2"
)

// sdk is what the clients' libraries have in common; their types differ.
type sdk struct {
	token       func(string)
	init        func(custodians bool) (shares []string, root string, err error)
	initialized func() (bool, error)
	status      func() (sdkStatus, error)
	unseal      func(key string) (unsealed bool, err error)
	reset       func() (progress int, err error)
	seal        func() error
	health      func() (initialized, sealed bool, err error)
	ha          func() (bool, error)

	rekeyStart  func(recovery bool) (nonce string, err error)
	rekeyStatus func(recovery bool) (started bool, progress int, err error)
	rekeyGive   func(recovery bool, key, nonce string) (complete bool, keys []string, err error)
	rekeyCancel func(recovery bool, nonce string) error
	rotations   []func() error
	term        func() (int, error)

	mount, unmount func(path string) error
	mounts         func() ([]string, error)
	write          func(path string, data map[string]any) error
	read, list     func(path string) (map[string]any, error)
	remove         func(path string) error
}

type sdkStatus struct {
	initialized, sealed bool
	t, n, progress      int
}

// What the two libraries do differently stands here; the rest of OpenBao's half is generated from
// Vault's.

// vaultRekeyCancel passes the nonce for recovery shares: without one, this library cancels the
// barrier's rekey instead.
func vaultRekeyCancel(sys *vault.Sys) func(recovery bool, nonce string) error {
	return func(recovery bool, nonce string) error {
		if recovery {
			return sys.RekeyRecoveryKeyCancelWithNonce(nonce)
		}
		return sys.RekeyCancel()
	}
}

func baoRekeyCancel(sys *bao.Sys) func(recovery bool, nonce string) error {
	return func(recovery bool, _ string) error {
		if recovery {
			return sys.RekeyRecoveryKeyCancel()
		}
		return sys.RekeyCancel()
	}
}

func vaultRotations(sys *vault.Sys) []func() error { return []func() error{sys.Rotate} }

func baoRotations(sys *bao.Sys) []func() error {
	return []func() error{sys.Rotate, sys.RotateKeyring, sys.RotateRoot}
}
