package cli

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// oneTimePassword makes one of n characters, each as likely as any other.
func oneTimePassword(rnd io.Reader, n int) (string, error) {
	const even = 256 / len(base62) * len(base62) // bytes from here on would favour the first characters
	text := make([]byte, 0, n)
	var one [1]byte
	for len(text) < n {
		if _, err := io.ReadFull(rnd, one[:]); err != nil {
			return "", err
		}
		if int(one[0]) < even {
			text = append(text, base62[int(one[0])%len(base62)])
		}
	}
	return string(text), nil
}

// maxOTP bounds the length that a server asks for.
const maxOTP = 1024

// makeOTP prints a one-time password as long as the server's tokens are.
func (g *rootToken) makeOTP() int {
	s, err := g.current()
	if err != nil {
		return g.fail("getting root generation status", err)
	}
	if s.OTPLength <= 0 || s.OTPLength > maxOTP {
		g.errorf("Error: the server asks for a one-time password of %d characters, which cannot be", s.OTPLength)
		return exitServer
	}
	rnd := g.env.Rand
	if rnd == nil {
		rnd = rand.Reader
	}
	otp, err := oneTimePassword(rnd, s.OTPLength)
	if err != nil {
		g.errorf("Error: no random numbers: %v", err)
		return exitLocal
	}
	if g.format() != "table" {
		return g.encode(map[string]any{"otp": otp, "otp_length": len(otp)})
	}
	g.printf("%s", otp)
	return exitOK
}

// decodeToken prints the token that an encoded one and its one-time password make. It asks no server.
func (b *base) decodeToken(encoded, otp string) int {
	encoded, err := b.oneSecret(encoded)
	if err == nil && otp == "" {
		otp, err = b.prompt("One-time password (will be hidden): ")
	} else if err == nil {
		otp, err = b.oneSecret(otp)
	}
	if errors.Is(err, errNoTerminal) || errors.Is(err, errNonInteractive) {
		b.errorf("Error: the one-time password is needed, and %v. Give it as -otp=@file or -otp=...", err)
		return exitLocal
	}
	if err == nil {
		encoded, err = decoded(encoded, otp)
	}
	if err != nil {
		b.errorf("Error decoding the token: %v", err)
		return exitLocal
	}
	if b.format() != "table" {
		return b.encode(map[string]string{"token": encoded})
	}
	b.printf("%s", encoded)
	return exitOK
}

// decoded undoes the XOR of a token and its one-time password; encoded is base64 with or without padding.
func decoded(encoded, otp string) (string, error) {
	token, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	switch {
	case err != nil:
		return "", errors.New("the encoded token is not base64")
	case len(token) == 0:
		return "", errors.New("there is no encoded token")
	case len(token) != len(otp):
		return "", fmt.Errorf("a one-time password of %d characters does not fit an encoded token of %d; "+
			"was it encrypted to a public key? Then the holder of that key decrypts it", len(otp), len(token))
	}
	for i := range token {
		token[i] ^= otp[i]
		if token[i] <= ' ' || token[i] > '~' {
			return "", errors.New("the one-time password is not the one that belongs to this encoded token")
		}
	}
	return string(token), nil
}
