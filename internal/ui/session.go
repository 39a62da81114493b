package ui

import (
	"context"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

// Limits of a session.
const (
	Idle        = 15 * time.Minute
	Longest     = 8 * time.Hour
	maxSessions = 1000
)

const sessionCookie = "__Host-sealgate-session"

// Sessions are the signed-in browsers of this node. The zero value is not usable; see
// [NewSessions].
type Sessions struct {
	now func() time.Time

	mu  sync.Mutex
	all map[[sha256.Size]byte]*session // by the digest of the cookie's value
}

// session is one signed-in browser.
type session struct {
	token *secret.Bytes
	name  string // display name of the token
	made  bool   // the token was made by this login, so signing out revokes it

	begun, seen time.Time
	notice      string // for the next page
}

// NewSessions returns an empty set.
func NewSessions(now func() time.Time) *Sessions {
	return &Sessions{now: now, all: map[[sha256.Size]byte]*session{}}
}

// Run removes expired sessions until ctx ends, and then all.
func (s *Sessions) Run(ctx context.Context) {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			s.remove(func(*session) bool { return true })
			return
		case <-t.C:
			s.expire()
		}
	}
}

func (s *Sessions) expire() {
	now := s.now()
	s.remove(func(one *session) bool { return one.expired(now) })
}

func (s *session) expired(now time.Time) bool {
	return now.Sub(s.seen) > Idle || now.Sub(s.begun) > Longest
}

func (s *Sessions) remove(which func(*session) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, one := range s.all {
		if which(one) {
			one.token.Destroy()
			delete(s.all, id)
		}
	}
}

// find returns the session of the browser, or nil, and counts the request as use.
func (s *Sessions) find(r *http.Request) *session { return s.look(r, true) }

// peek does not count as use: pages refresh without their reader.
func (s *Sessions) peek(r *http.Request) *session { return s.look(r, false) }

func (s *Sessions) look(r *http.Request, use bool) *session {
	c, err := r.Cookie(sessionCookie)
	if err != nil || c.Value == "" {
		return nil
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.all[sha256.Sum256([]byte(c.Value))]
	if one == nil || one.expired(now) {
		return nil
	}
	if use {
		one.seen = now
	}
	return one
}

// add begins a session under a new id: an id that the browser had before is never taken over. The
// least recently used session ends where there are too many.
func (s *Sessions) add(w http.ResponseWriter, one *session) {
	id := random()
	s.mu.Lock()
	defer s.mu.Unlock()
	one.begun = s.now()
	one.seen = one.begun
	if len(s.all) >= maxSessions {
		s.evict()
	}
	s.all[sha256.Sum256([]byte(id))] = one
	http.SetCookie(w, cookie(sessionCookie, id))
}

// evict ends the least recently used session. The caller holds the lock.
func (s *Sessions) evict() {
	var oldest [sha256.Size]byte
	var last *session
	for id, one := range s.all {
		if last == nil || one.seen.Before(last.seen) {
			oldest, last = id, one
		}
	}
	if last != nil {
		last.token.Destroy()
		delete(s.all, oldest)
	}
}

// end removes the browser's session and its cookie.
func (s *Sessions) end(w http.ResponseWriter, r *http.Request) {
	s.drop(r)
	gone := cookie(sessionCookie, "")
	gone.MaxAge = -1
	http.SetCookie(w, gone)
}

// drop removes the browser's session.
func (s *Sessions) drop(r *http.Request) {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return
	}
	id := sha256.Sum256([]byte(c.Value))
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.all[id]; one != nil {
		one.token.Destroy()
		delete(s.all, id)
	}
}

// bearer returns the token for one request.
func (s *Sessions) bearer(one *session) string {
	if one == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if one.token.Len() == 0 {
		return "" // signed out meanwhile
	}
	return string(one.token.Expose())
}

// notify keeps a message for the next page.
func (s *Sessions) notify(one *session, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.notice = text
}

func (s *Sessions) takeNotice(one *session) string {
	if one == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	text := one.notice
	one.notice = ""
	return text
}
