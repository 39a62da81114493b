package browser

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// press sends a key to the element that has the focus.
func (v *visitor) press(keys string) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.KeyEvent(keys)); err != nil {
		v.t.Fatalf("pressing %q: %v", keys, err)
	}
}

// tabTo presses Tab until the element of a selector has the focus, and shows it.
func (v *visitor) tabTo(selector string) {
	v.t.Helper()
	for range 120 {
		v.press(kb.Tab)
		at := fmt.Sprintf("document.activeElement.matches(%q)", selector)
		if !eval[bool](v, "the focus", at) {
			continue
		}
		if !eval[bool](v, "the focus ring", "document.activeElement.matches(':focus-visible') && "+
			"getComputedStyle(document.activeElement).outlineStyle !== 'none'") {
			v.t.Errorf("the focus on %s cannot be seen", selector)
		}
		return
	}
	v.t.Fatalf("Tab does not reach %s on\n%s", selector, v.text())
}

// enter presses Enter and waits for the next page.
func (v *visitor) enter() {
	v.t.Helper()
	eval[int](v, "marking the page", "document.documentElement.dataset.old = 1")
	v.press(kb.Enter)
	v.until("the next page", "!document.documentElement.dataset.old && document.readyState === 'complete'")
}

// TestKeyboard logs in, rotates the data key and cancels a ceremony without a mouse.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	s := newServer(t, "alice", "bob", "carol")
	v := newVisitor(t, newBrowser(t), s.URL())
	v.open("/ui/login")
	v.tabTo("#token")
	v.press(s.root)
	v.enter()
	v.sees("Signed in as")
	v.tabTo("a.skip")
	v.press(kb.Enter)
	v.until("the main part", "location.hash !== ''")
	v.open("/ui/")
	v.tabTo("a[href='/ui/keys']")
	v.enter()
	v.tabTo("details:has(form[action='/ui/do/keys/rotate']) > summary")
	v.press(kb.Enter)
	v.tabTo("form[action='/ui/do/keys/rotate'] button")
	v.enter()
	v.sees("Term 2")
	v.open("/ui/ceremonies")
	v.tabTo("details:has(form[action='/ui/do/ceremonies/recovery']) > summary")
	v.press(" ")
	v.tabTo("form[action='/ui/do/ceremonies/recovery'] button")
	v.enter()
	v.sees("The ceremony has begun")
	v.tabTo("details:has(form[action='/ui/do/ceremonies/cancel-recovery']) > summary")
	v.press(kb.Enter)
	v.tabTo("#cancel-recovery-confirm")
	v.press("cancel")
	v.enter()
	v.sees("The ceremony was cancelled")
	v.open("/ui/transcript")
	v.tabTo("a.button")
	v.enter()
	v.sees("1 records are genuine")
	v.clean("keyboard")
	v.check("transcript-verified")
}
