package gcpkms

import (
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// defaultPage is the default size of a page, and mostPage the maximum.
// Sources: the page_size fields in service.proto ("the server will pick an appropriate default")
// and google.aip.dev/158 (what is above a service's maximum is cut to it).
const (
	defaultPage = 100
	mostPage    = 1000
)

type pageRequest interface {
	GetPageSize() int32
	GetPageToken() string
}

// cut returns the requested page, and the token of the next one.
//
// Source: google.aip.dev/158: a negative page_size, or a token that was never given out, is
// INVALID_ARGUMENT.
func cut[T any](all []T, req pageRequest) ([]T, string, error) {
	if req.GetPageSize() < 0 {
		return nil, "", invalid("page_size must not be negative.")
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	size = min(size, mostPage)
	from := 0
	if t := req.GetPageToken(); t != "" {
		n, err := strconv.Atoi(t)
		if err != nil || n <= 0 || n > len(all) {
			return nil, "", invalid("page_token is not valid.")
		}
		from = n
	}
	to := min(from+size, len(all))
	if to == len(all) {
		return all[from:], "", nil
	}
	return all[from:to], strconv.Itoa(to), nil
}

// plainList refuses what the emulator cannot do, so that an unfiltered list
// is not taken for a filtered one.
func plainList(req interface {
	GetFilter() string
	GetOrderBy() string
},
) error {
	if req.GetFilter() != "" || req.GetOrderBy() != "" {
		return status.Error(codes.Unimplemented, "This emulator of Cloud KMS neither filters nor orders lists.")
	}
	return nil
}
