//lint:file-ignore SA1019 the deprecated calls are what unmodified programs make

package e2e

import (
	"errors"
	"maps"
	"slices"
	"testing"

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

// vaultSDK drives the server by Vault's Go client.
func vaultSDK(t *testing.T, addr string, a *authority) sdk {
	t.Helper()
	config := vault.DefaultConfig()
	config.Address = "https://" + addr
	config.HttpClient = a.browser()
	config.MaxRetries = 0
	c, err := vault.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	c.ClearToken() // of the environment
	c.ClearNamespace()
	sys := c.Sys()
	rekeyStart := map[bool]func(*vault.RekeyInitRequest) (*vault.RekeyStatusResponse, error){false: sys.RekeyInit, true: sys.RekeyRecoveryKeyInit}
	rekeyStatus := map[bool]func() (*vault.RekeyStatusResponse, error){false: sys.RekeyStatus, true: sys.RekeyRecoveryKeyStatus}
	rekeyUpdate := map[bool]func(string, string) (*vault.RekeyUpdateResponse, error){false: sys.RekeyUpdate, true: sys.RekeyRecoveryKeyUpdate}
	return sdk{
		token: c.SetToken,
		init: func(custodians bool) ([]string, string, error) {
			req := &vault.InitRequest{RecoveryShares: 3, RecoveryThreshold: 2}
			if custodians {
				req = &vault.InitRequest{SecretShares: 3, SecretThreshold: 2}
			}
			r, err := sys.Init(req)
			if err != nil {
				return nil, "", err
			}
			return append(r.KeysB64, r.RecoveryKeysB64...), r.RootToken, nil
		},
		initialized: sys.InitStatus,
		status: func() (sdkStatus, error) {
			r, err := sys.SealStatus()
			if err != nil {
				return sdkStatus{}, err
			}
			return sdkStatus{r.Initialized, r.Sealed, r.T, r.N, r.Progress}, nil
		},
		unseal: func(key string) (bool, error) {
			r, err := sys.Unseal(key)
			return err == nil && !r.Sealed, err
		},
		reset: func() (int, error) {
			r, err := sys.ResetUnsealProcess()
			if err != nil {
				return 0, err
			}
			return r.Progress, nil
		},
		seal: sys.Seal,
		health: func() (bool, bool, error) {
			r, err := sys.Health()
			if err != nil {
				return false, false, err
			}
			return r.Initialized, r.Sealed, nil
		},
		ha: func() (bool, error) {
			r, err := sys.Leader()
			return err == nil && r.HAEnabled, err
		},
		rekeyStart: func(recovery bool) (string, error) {
			r, err := rekeyStart[recovery](&vault.RekeyInitRequest{SecretShares: 4, SecretThreshold: 3})
			if err != nil {
				return "", err
			}
			return r.Nonce, nil
		},
		rekeyStatus: func(recovery bool) (bool, int, error) {
			r, err := rekeyStatus[recovery]()
			if err != nil {
				return false, 0, err
			}
			return r.Started, r.Progress, nil
		},
		rekeyGive: func(recovery bool, key, nonce string) (bool, []string, error) {
			r, err := rekeyUpdate[recovery](key, nonce)
			if err != nil {
				return false, nil, err
			}
			return r.Complete, r.KeysB64, nil
		},
		// RekeyRecoveryKeyCancel of this client cancels the barrier's; with a nonce it does what it says.
		rekeyCancel: func(recovery bool, nonce string) error {
			if recovery {
				return sys.RekeyRecoveryKeyCancelWithNonce(nonce)
			}
			return sys.RekeyCancel()
		},
		rotations: []func() error{sys.Rotate},
		term: func() (int, error) {
			r, err := sys.KeyStatus()
			if err != nil {
				return 0, err
			}
			if r.InstallTime.IsZero() {
				return 0, errors.New("no install time")
			}
			return r.Term, nil
		},
		mount:   func(path string) error { return sys.Mount(path, &vault.MountInput{Type: "kv"}) },
		unmount: sys.Unmount,
		mounts: func() ([]string, error) {
			m, err := sys.ListMounts()
			return slices.Sorted(maps.Keys(m)), err
		},
		write: func(path string, data map[string]any) error {
			_, err := c.Logical().Write(path, data)
			return err
		},
		read: func(path string) (map[string]any, error) {
			s, err := c.Logical().Read(path)
			if s == nil {
				return nil, err
			}
			return s.Data, err
		},
		list: func(path string) (map[string]any, error) {
			s, err := c.Logical().List(path)
			if s == nil {
				return nil, err
			}
			return s.Data, err
		},
		remove: func(path string) error {
			_, err := c.Logical().Delete(path)
			return err
		},
	}
}

// baoSDK drives the server by OpenBao's Go client.
func baoSDK(t *testing.T, addr string, a *authority) sdk {
	t.Helper()
	config := bao.DefaultConfig()
	config.Address = "https://" + addr
	config.HttpClient = a.browser()
	config.MaxRetries = 0
	c, err := bao.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	c.ClearToken() // of the environment
	c.ClearNamespace()
	sys := c.Sys()
	rekeyStart := map[bool]func(*bao.RekeyInitRequest) (*bao.RekeyStatusResponse, error){false: sys.RekeyInit, true: sys.RekeyRecoveryKeyInit}
	rekeyStatus := map[bool]func() (*bao.RekeyStatusResponse, error){false: sys.RekeyStatus, true: sys.RekeyRecoveryKeyStatus}
	rekeyUpdate := map[bool]func(string, string) (*bao.RekeyUpdateResponse, error){false: sys.RekeyUpdate, true: sys.RekeyRecoveryKeyUpdate}
	return sdk{
		token: c.SetToken,
		init: func(custodians bool) ([]string, string, error) {
			req := &bao.InitRequest{RecoveryShares: 3, RecoveryThreshold: 2}
			if custodians {
				req = &bao.InitRequest{SecretShares: 3, SecretThreshold: 2}
			}
			r, err := sys.Init(req)
			if err != nil {
				return nil, "", err
			}
			return append(r.KeysB64, r.RecoveryKeysB64...), r.RootToken, nil
		},
		initialized: sys.InitStatus,
		status: func() (sdkStatus, error) {
			r, err := sys.SealStatus()
			if err != nil {
				return sdkStatus{}, err
			}
			return sdkStatus{r.Initialized, r.Sealed, r.T, r.N, r.Progress}, nil
		},
		unseal: func(key string) (bool, error) {
			r, err := sys.Unseal(key)
			return err == nil && !r.Sealed, err
		},
		reset: func() (int, error) {
			r, err := sys.ResetUnsealProcess()
			if err != nil {
				return 0, err
			}
			return r.Progress, nil
		},
		seal: sys.Seal,
		health: func() (bool, bool, error) {
			r, err := sys.Health()
			if err != nil {
				return false, false, err
			}
			return r.Initialized, r.Sealed, nil
		},
		ha: func() (bool, error) {
			r, err := sys.Leader()
			return err == nil && r.HAEnabled, err
		},
		rekeyStart: func(recovery bool) (string, error) {
			r, err := rekeyStart[recovery](&bao.RekeyInitRequest{SecretShares: 4, SecretThreshold: 3})
			if err != nil {
				return "", err
			}
			return r.Nonce, nil
		},
		rekeyStatus: func(recovery bool) (bool, int, error) {
			r, err := rekeyStatus[recovery]()
			if err != nil {
				return false, 0, err
			}
			return r.Started, r.Progress, nil
		},
		rekeyGive: func(recovery bool, key, nonce string) (bool, []string, error) {
			r, err := rekeyUpdate[recovery](key, nonce)
			if err != nil {
				return false, nil, err
			}
			return r.Complete, r.KeysB64, nil
		},
		rekeyCancel: func(recovery bool, _ string) error {
			if recovery {
				return sys.RekeyRecoveryKeyCancel()
			}
			return sys.RekeyCancel()
		},
		rotations: []func() error{sys.Rotate, sys.RotateKeyring, sys.RotateRoot},
		term: func() (int, error) {
			r, err := sys.KeyStatus()
			if err != nil {
				return 0, err
			}
			if r.InstallTime.IsZero() {
				return 0, errors.New("no install time")
			}
			return r.Term, nil
		},
		mount:   func(path string) error { return sys.Mount(path, &bao.MountInput{Type: "kv"}) },
		unmount: sys.Unmount,
		mounts: func() ([]string, error) {
			m, err := sys.ListMounts()
			return slices.Sorted(maps.Keys(m)), err
		},
		write: func(path string, data map[string]any) error {
			_, err := c.Logical().Write(path, data)
			return err
		},
		read: func(path string) (map[string]any, error) {
			s, err := c.Logical().Read(path)
			if s == nil {
				return nil, err
			}
			return s.Data, err
		},
		list: func(path string) (map[string]any, error) {
			s, err := c.Logical().List(path)
			if s == nil {
				return nil, err
			}
			return s.Data, err
		},
		remove: func(path string) error {
			_, err := c.Logical().Delete(path)
			return err
		},
	}
}
