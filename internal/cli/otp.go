package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sealgate/sealgate/recovery"
)

// makeOTP prints a one-time password of the length of the server's tokens.
func (g *rootToken) makeOTP() int {
	s, err := g.current()
	if err != nil {
		return g.fail("getting root generation status", err)
	}
	otp, err := recovery.NewOTP(s.OTPLength, g.env.Rand)
	if errors.Is(err, recovery.ErrOTPLength) {
		g.errorf("Error: the server asks for a one-time password of %d characters, which is not a valid length", s.OTPLength)
		return exitServer
	}
	if err != nil {
		g.errorf("Error: %v", err)
		return exitLocal
	}
	if g.format() != "table" {
		return g.encode(map[string]any{"otp": otp, "otp_length": len(otp)})
	}
	g.printf("%s", otp)
	return exitOK
}

// decodeToken decodes a token with its one-time password and prints it. It makes no request.
func decodeToken(b *base, encoded, otp string) int {
	encoded, err := b.oneSecret(encoded)
	if err == nil && otp == "" {
		otp, err = b.prompt("One-time password (will be hidden): ")
	} else if err == nil {
		otp, err = b.oneSecret(otp)
	}
	if errors.Is(err, errNoTerminal) || errors.Is(err, errNonInteractive) {
		b.errorf("Error: the one-time password is missing, and %v. Use -otp=@file or -otp=...", err)
		return exitLocal
	}
	var token string
	if err == nil {
		token, err = decoded(encoded, otp)
	}
	if err != nil {
		b.errorf("Error decoding the token: %v", err)
		return exitLocal
	}
	if b.format() != "table" {
		return b.encode(map[string]string{"token": token})
	}
	exact(b, "%s", token)
	return exitOK
}

// decoded detects most wrong passwords: their result is not printable.
func decoded(encoded, otp string) (string, error) {
	token, err := recovery.DecodeToken(encoded, otp)
	switch {
	case errors.Is(err, recovery.ErrOTPLength):
		return "", fmt.Errorf("the one-time password has %d characters, which is not the length of the encoded token; "+
			"if the token was encrypted to a public key, decrypt it with the private key instead", len(otp))
	case err != nil:
		return "", err
	case strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }):
		return "", errors.New("the one-time password does not belong to this encoded token")
	}
	return token, nil
}
