package ceremony

import "errors"

// Refusals that the API answers with the texts of the path by which a request came. Each is the
// cause of an error whose message has Vault's text.
var (
	// ErrRunning is returned where a ceremony of the purpose runs already.
	ErrRunning = errors.New("ceremony: one is running already")
	// ErrNone is returned where no ceremony of the purpose runs.
	ErrNone = errors.New("ceremony: none is running")
	// ErrNoConfiguration is returned for the state of a verification where no ceremony runs.
	ErrNoConfiguration = errors.New("ceremony: none is running that has a verification")
	// ErrNoRecoveryShares is returned for a rekey of recovery shares where the shares unseal the
	// server.
	ErrNoRecoveryShares = errors.New("ceremony: the shares unseal the server")
)

// ConfigurationError is the cause of a refusal of the new shares' numbers, keys or holders.
type ConfigurationError struct{ Err error }

// Error says what is wrong.
func (e *ConfigurationError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *ConfigurationError) Unwrap() error { return e.Err }
