//lint:file-ignore SA1019 the deprecated calls are what unmodified programs make

package e2e

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"testing"

	bao "github.com/openbao/openbao/api/v2"
)

// Code generated from sdk_vault_test.go by go test -run TestBaoHalfIsCurrent -update; DO NOT EDIT.

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
	rekeyStart := map[bool]func(*bao.RekeyInitRequest) (*bao.RekeyStatusResponse, error){false: sys.RekeyInit,
		true: sys.RekeyRecoveryKeyInit}
	rekeyStatus := map[bool]func() (*bao.RekeyStatusResponse, error){false: sys.RekeyStatus,
		true: sys.RekeyRecoveryKeyStatus}
	rekeyUpdate := map[bool]func(string, string) (*bao.RekeyUpdateResponse, error){false: sys.RekeyUpdate,
		true: sys.RekeyRecoveryKeyUpdate}
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
		rekeyCancel: baoRekeyCancel(sys),
		rotations:   baoRotations(sys),
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

func baoKV(t *testing.T, c *bao.Client, mount string) kvSDK {
	ctx := func() context.Context { return t.Context() }
	kv := c.KVv2(mount)
	number := func(s *bao.KVSecret, err error) (int, error) {
		if err != nil {
			return 0, err
		}
		return s.VersionMetadata.Version, nil
	}
	return kvSDK{
		put: func(path string, data map[string]any, cas int) (int, error) {
			if cas < 0 {
				return number(kv.Put(ctx(), path, data))
			}
			return number(kv.Put(ctx(), path, data, bao.WithCheckAndSet(cas)))
		},
		get: func(path string, version int) (v kvVersion, err error) {
			var s *bao.KVSecret
			if version == 0 {
				s, err = kv.Get(ctx(), path)
			} else {
				s, err = kv.GetVersion(ctx(), path, version)
			}
			if err != nil {
				return v, err
			}
			m := s.VersionMetadata
			return kvVersion{data: s.Data, version: m.Version, deleted: m.DeletionTime, destroyed: m.Destroyed,
				custom: s.CustomMetadata, dated: !m.CreatedTime.IsZero()}, nil
		},
		patch: func(path string, data map[string]any, method string) (int, error) {
			return number(kv.Patch(ctx(), path, data, bao.WithMergeMethod(method)))
		},
		remove: func(path string) error { return kv.Delete(ctx(), path) },
		versions: func(kind, path string, numbers []int) error {
			return map[string]func(context.Context, string, []int) error{"delete": kv.DeleteVersions, "undelete": kv.Undelete,
				"destroy": kv.Destroy}[kind](ctx(), path, numbers)
		},
		rollback: func(path string, to int) (int, error) { return number(kv.Rollback(ctx(), path, to)) },
		known: func(path string) (int, int, map[string]any, int, error) {
			m, err := kv.GetMetadata(ctx(), path)
			if err != nil {
				return 0, 0, nil, 0, err
			}
			all, err := kv.GetVersionsAsList(ctx(), path)
			return m.CurrentVersion, m.MaxVersions, m.CustomMetadata, len(all), err
		},
		setMetadata: func(path string, most int, custom map[string]any) error {
			return kv.PutMetadata(ctx(), path, bao.KVMetadataPutInput{MaxVersions: most, CustomMetadata: custom})
		},
		patchCustom: func(path string, custom map[string]any) error {
			return kv.PatchMetadata(ctx(), path, bao.KVMetadataPatchInput{CustomMetadata: custom})
		},
		forget:  func(path string) error { return kv.DeleteMetadata(ctx(), path) },
		missing: func(err error) bool { return errors.Is(err, bao.ErrSecretNotFound) },
		tune: func(mount, version string) error {
			return c.Sys().TuneMount(mount, bao.MountConfigInput{Options: map[string]string{"version": version}})
		},
		tuned: func(mount string) (string, error) {
			all, err := c.Sys().ListMounts()
			if err != nil {
				return "", err
			}
			if _, err := c.Sys().MountConfig(mount); err != nil {
				return "", err
			}
			return all[mount+"/"].Options["version"], nil
		},
		remount: func(from, to string) error { return c.Sys().Remount(from, to) },
	}
}

func baoAuth(t *testing.T, addr string, h *http.Client) authSDK {
	t.Helper()
	config := bao.DefaultConfig()
	config.Address, config.HttpClient, config.MaxRetries = "https://"+addr, h, 0
	c, err := bao.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	c.ClearToken()
	sys := c.Sys()
	reply := func(s *bao.Secret, err error) (r authReply, _ error) {
		if err != nil || s == nil {
			return r, err
		}
		r.data = s.Data
		if a := s.Auth; a != nil {
			r.token, r.accessor, r.policies, r.meta = a.ClientToken, a.Accessor, a.Policies, a.Metadata
		}
		if s.WrapInfo != nil {
			r.wrap, r.accessor = s.WrapInfo.Token, s.WrapInfo.WrappedAccessor
		}
		return r, nil
	}
	return authSDK{
		token:    c.SetToken,
		write:    func(path string, data map[string]any) (authReply, error) { return reply(c.Logical().Write(path, data)) },
		read:     func(path string) (authReply, error) { return reply(c.Logical().Read(path)) },
		wrapNext: func(ttl string) { c.SetWrappingLookupFunc(func(string, string) string { return ttl }) },
		unwrap:   func(token string) (authReply, error) { return reply(c.Logical().Unwrap(token)) },
		enable: func(path, kind string) error {
			return sys.EnableAuthWithOptions(path, &bao.EnableAuthOptions{Type: kind, Description: "test"})
		},
		disable: func(path, _ string) error { return sys.DisableAuth(path) },
		methods: func() ([]string, error) {
			all, err := sys.ListAuth()
			return names(all), err
		},
		tune: func(path, ttl string) error {
			return sys.TuneMount("auth/"+path, bao.MountConfigInput{DefaultLeaseTTL: ttl})
		},
		tuned: func(path string) (int, error) {
			out, err := sys.MountConfig("auth/" + path)
			if err != nil {
				return 0, err
			}
			return out.DefaultLeaseTTL, nil
		},
		lookupLease:  func(id string) error { _, err := sys.Lookup(id); return err },
		revokePrefix: sys.RevokePrefix,
	}
}
