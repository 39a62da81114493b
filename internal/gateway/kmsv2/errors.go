package kmsv2

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sealgate/sealgate/internal/fault"
)

var codeOf = map[fault.Kind]codes.Code{
	fault.Internal:    codes.Internal,
	fault.Invalid:     codes.InvalidArgument,
	fault.Denied:      codes.PermissionDenied,
	fault.NotFound:    codes.FailedPrecondition,
	fault.Unsupported: codes.FailedPrecondition,
	fault.TooLarge:    codes.InvalidArgument,
	fault.Limited:     codes.ResourceExhausted,
	fault.Sealed:      codes.Unavailable,
	fault.Unavailable: codes.Unavailable,
}

// grpcError shows a [fault.Error]'s message and nothing of other errors.
func grpcError(ctx context.Context, err error) error {
	var e *fault.Error
	switch {
	case errors.As(err, &e):
		return status.Error(codeOf[e.Kind], e.Message)
	case ctx.Err() != nil:
		return status.Error(codes.DeadlineExceeded, "the key did not answer in time")
	}
	return status.Error(codes.Internal, "the call failed; see the plugin's log")
}
