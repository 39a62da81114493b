package cli

import (
	"fmt"
	"net/http"
	"time"

	"github.com/openbao/openbao/api/v2"
)

func statusCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "status", synopsis: "Show whether the server is sealed",
		about: `Shows the seal, the state and the cluster of the server. It needs no token.

The exit code is 0 if the server is unsealed, 2 if it is sealed, and 1 on an error.`,
		run: func([]string) int {
			client, err := b.client()
			if err != nil {
				b.errorf("Error: %v", err)
				return exitLocal
			}
			client.ClearNamespace()
			status, code := sealStatus(b, client)
			if status == nil {
				return min(code, exitLocal) // an error is 1 here, because 2 means sealed
			}
			if code := showStatus(b, client, status); code != exitOK {
				return exitLocal
			}
			if status.Sealed {
				return exitServer
			}
			return exitOK
		}}
}

// sealState is the response of sys/seal-status. Vault reports a build date, OpenBao a commit date.
type sealState struct {
	Type             string   `json:"type"`
	Initialized      bool     `json:"initialized"`
	Sealed           bool     `json:"sealed"`
	T                int      `json:"t"`
	N                int      `json:"n"`
	Progress         int      `json:"progress"`
	Nonce            string   `json:"nonce"`
	Version          string   `json:"version"`
	SealgateVersion  string   `json:"sealgate_version,omitempty"`
	CommitDate       string   `json:"commit_date"`
	BuildDate        string   `json:"build_date"`
	Migration        bool     `json:"migration"`
	ClusterName      string   `json:"cluster_name,omitempty"`
	ClusterID        string   `json:"cluster_id,omitempty"`
	RecoverySeal     bool     `json:"recovery_seal"`
	RecoverySealType string   `json:"recovery_seal_type,omitempty"`
	StorageType      string   `json:"storage_type,omitempty"`
	Warnings         []string `json:"warnings,omitempty"`

	StorageFailure *storageFailure `json:"storage_failure,omitempty"` // Sealgate's
	Seals          []sealFailure   `json:"seals,omitempty"`           // Sealgate's
}

// sealFailure is why a seal did not decrypt the root key; Class is empty where it did.
type sealFailure struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	WouldUnseal bool   `json:"would_unseal"`
	Since       string `json:"failing_since,omitempty"`
	Class       string `json:"failure_class,omitempty"`
	Cause       string `json:"failure,omitempty"` // for a token that may see it, or on a unix socket
	Remedy      string `json:"remedy,omitempty"`
}

// storageFailure is why calls of the server's storage fail.
type storageFailure struct {
	Class  string    `json:"class"`
	Since  time.Time `json:"since"`
	Remedy string    `json:"remedy"`
	Cause  string    `json:"cause,omitempty"` // for a token that may see it, or on a unix socket
}

// auto reports whether the server has an auto-unseal seal, so that its shares are recovery shares.
func (s *sealState) auto() bool { return s.RecoverySeal || s.Type != "" && s.Type != "shamir" }

// sealStatus reads the state of the seal. If that fails, it prints why and returns nil and the exit
// code.
func sealStatus(b *base, client *api.Client) (*sealState, int) {
	status := &sealState{}
	if err := call(client, http.MethodGet, "sys/seal-status", nil, status); err != nil {
		return nil, b.fail("checking seal status", err)
	}
	return status, exitOK
}

// fullStatus is the state of the seal and of the cluster as one object.
type fullStatus struct {
	*sealState
	HAEnabled            bool       `json:"ha_enabled"`
	IsSelf               bool       `json:"is_self,omitempty"`
	ActiveTime           *time.Time `json:"active_time,omitempty"`
	LeaderAddress        string     `json:"leader_address,omitempty"`
	LeaderClusterAddress string     `json:"leader_cluster_address,omitempty"`
	RaftCommittedIndex   uint64     `json:"raft_committed_index,omitempty"`
	RaftAppliedIndex     uint64     `json:"raft_applied_index,omitempty"`
}

// showStatus adds the leader to the state of the seal and prints both.
func showStatus(b *base, client *api.Client, status *sealState) int {
	full := fullStatus{sealState: status}
	leader := &api.LeaderResponse{}
	err := call(client, http.MethodGet, "sys/leader", nil, leader)
	switch {
	case err != nil && sealed(err):
		full.HAEnabled = true // only a sealed node of a cluster responds with this error
	case err != nil && status.StorageFailure != nil:
		full.HAEnabled = true // it is unknown who leads
	case err != nil:
		return b.fail("checking leader status", err)
	default:
		full.HAEnabled, full.IsSelf = leader.HAEnabled, leader.IsSelf
		full.LeaderAddress, full.LeaderClusterAddress = leader.LeaderAddress, leader.LeaderClusterAddress
		full.RaftCommittedIndex, full.RaftAppliedIndex = leader.RaftCommittedIndex, leader.RaftAppliedIndex
		if !leader.ActiveTime.IsZero() {
			full.ActiveTime = &leader.ActiveTime
		}
	}
	if b.format() != "table" {
		return b.encode(full)
	}
	b.warnings(status.Warnings)
	rows := sealRows(status)
	haRows(&rows, full)
	b.printf("%s", rows)
	return exitOK
}

func sealRows(s *sealState) pairs {
	var p pairs
	kind := ""
	p.add("Seal Type", s.Type)
	if s.RecoverySeal {
		kind = "Recovery "
		p.add("Recovery Seal Type", s.RecoverySealType)
	}
	p.add("Initialized", s.Initialized)
	p.add("Sealed", s.Sealed)
	p.add("Total "+kind+"Shares", s.N)
	p.add("Threshold", s.T)
	if s.Sealed {
		p.add("Unseal Progress", fmt.Sprintf("%d/%d", s.Progress, s.T))
		p.add("Unseal Nonce", s.Nonce)
		for _, f := range s.Seals {
			if f.Class != "" {
				p.add("Seal "+f.Name, fmt.Sprintf("%s, since %s", f.Class, f.Since))
			}
		}
	}
	if s.Migration {
		p.add("Seal Migration in Progress", s.Migration)
	}
	p.add("Version", s.Version)
	if s.SealgateVersion != "" {
		p.add("Sealgate Version", s.SealgateVersion)
	}
	if s.CommitDate != "" {
		p.add("Commit Date", s.CommitDate)
	} else if s.BuildDate != "" {
		p.add("Build Date", s.BuildDate)
	}
	p.add("Storage Type", s.StorageType)
	if f := s.StorageFailure; f != nil {
		p.add("Storage Failure", fmt.Sprintf("%s, since %s", f.Class, f.Since.Format(time.RFC3339)))
		p.add("Storage Remedy", f.Remedy)
		if f.Cause != "" {
			p.add("Storage Cause", f.Cause)
		}
	}
	if s.ClusterName != "" {
		p.add("Cluster Name", s.ClusterName)
		p.add("Cluster ID", s.ClusterID)
	}
	return p
}

func haRows(p *pairs, s fullStatus) {
	p.add("HA Enabled", s.HAEnabled)
	if s.HAEnabled && !s.Sealed {
		p.add("HA Cluster", s.LeaderClusterAddress)
		if s.IsSelf {
			p.add("HA Mode", "active")
			if s.ActiveTime != nil {
				p.add("Active Since", s.ActiveTime.Format(time.RFC3339Nano))
			}
		} else {
			p.add("HA Mode", "standby")
			p.add("Active Node Address", s.LeaderAddress)
		}
	}
	if s.RaftCommittedIndex > 0 {
		p.add("Raft Committed Index", s.RaftCommittedIndex)
	}
	if s.RaftAppliedIndex > 0 {
		p.add("Raft Applied Index", s.RaftAppliedIndex)
	}
}
