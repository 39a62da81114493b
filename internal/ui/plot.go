package ui

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// plot is a bar chart that the server draws.
type plot struct {
	Width, Height, Base int
	Text                string // the same in words
	Bars                []bar
}

type bar struct {
	X, Y, Width, Height, Middle int
	Label                       string
}

// Sizes of a plot, in units of its view box.
const (
	barHeight = 80
	barWidth  = 28
	barStep   = 40
	shownBars = 16
)

// bars draws the uses of versions, oldest first. Where there is only one, there is nothing to
// compare, and the plot has no bars.
func bars(versions []versionUse) plot {
	shown := slices.Clone(versions[:min(len(versions), shownBars)])
	slices.Reverse(shown)
	var labels []string
	var counts []int64
	for _, v := range shown {
		labels, counts = append(labels, fmt.Sprint(v.Version)), append(counts, v.Count)
	}
	return plotOf("version", labels, counts)
}

// plotOf draws a bar for each count; none where there is nothing to compare. what names a bar in
// words.
func plotOf(what string, labels []string, counts []int64) plot {
	p := plot{Height: barHeight + 30, Base: barHeight + 24}
	most := int64(0)
	for _, n := range counts {
		most = max(most, n)
	}
	if len(counts) < 2 || most == 0 {
		return p
	}
	var words []string
	for i, n := range counts {
		height := int(float64(n) * barHeight / float64(most))
		if n > 0 {
			height = max(height, 2) // it is seen
		}
		p.Bars = append(p.Bars, bar{X: i * barStep, Y: barHeight - height + 4, Width: barWidth, Height: height,
			Middle: i*barStep + barWidth/2, Label: labels[i]})
		words = append(words, fmt.Sprintf("%s %s: %d", what, labels[i], n))
	}
	p.Width, p.Text = len(counts)*barStep, strings.Join(words, ", ")
	return p
}

// times draws how long the last proofs of a seal took, in microseconds, oldest first.
func times(us []int64) plot {
	const height, step = 32, 5
	p := plot{Height: height, Width: len(us) * step}
	if len(us) < 2 {
		return p
	}
	most := slices.Max(us)
	for i, t := range us {
		h := max(1, int(t*height/max(1, most)))
		p.Bars = append(p.Bars, bar{X: i * step, Y: height - h, Width: step - 1, Height: h})
	}
	p.Text = fmt.Sprintf("last %s, %s to %s", inWords(us[len(us)-1]), inWords(slices.Min(us)), inWords(most))
	return p
}

func inWords(us int64) string {
	return (time.Duration(us) * time.Microsecond).Round(10 * time.Microsecond).String()
}
