// Package browser tests the web interface of the real program with a real browser: Chromium, driven
// by chromedp, and axe-core for accessibility. It contains tests only.
//
// Screenshots of every page are in build/screenshots after a run.
package browser
