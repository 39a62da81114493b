package node

import (
	"context"
	"encoding/json"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/recovery"
)

type outcome string

const (
	outcomeCompleted outcome = "completed"
	outcomeCancelled outcome = "cancelled"
	outcomeExpired   outcome = "expired"
)

type ending struct {
	outcome outcome
	by      string
	next    *recovery.Custody
}

func (n *Node) transcribe(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, c *recovery.Ceremony, e ending) error {
	return nil
}

func (n *Node) overtake(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, p recovery.Purpose) error {
	return nil
}

func (n *Node) Transcripts(ctx context.Context) ([]string, error)                     { return nil, nil }
func (n *Node) Transcript(ctx context.Context, key string) (json.RawMessage, error)   { return nil, nil }
func (n *Node) TranscriptExport(ctx context.Context) (json.RawMessage, error)         { return nil, nil }
