package server

import (
	"bufio"
	"context"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Most of the program's file is mapped into memory by its start: the kernel maps pages around each
// one that is used, and every package initialises itself. Little of it is used afterwards, and
// pages that are mapped are the last that the kernel reclaims.

// statusEvery is the time between two questions whether the server has changed its state.
const statusEvery = time.Second

// releaseStartPages unmaps the program's pages after the start, and after each change of the
// server's state. What is used again is mapped again from the page cache, without reading a file.
func (p *instance) releaseStartPages(ctx context.Context) {
	ticker := time.NewTicker(statusEvery)
	defer ticker.Stop()
	for last := ""; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := p.status()
		if now == last {
			continue
		}
		last = now
		if err := unmapProgram(); err != nil {
			p.log.Debug("pages of the program stay mapped", "error", err)
			return
		}
	}
}

// unmapProgram unmaps the pages of the program's file that were never written: code and constants.
func unmapProgram() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer f.Close()
	clean, err := cleanMappings(f, exe)
	for _, m := range clean {
		if _, _, failed := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); failed != 0 {
			return failed
		}
	}
	return err
}

type mapping struct{ start, end uintptr }

// cleanMappings returns the private mappings of a file in the format of /proc/PID/smaps that cannot
// be written and have no page that differs from the file: relocations may have changed some before
// they were protected.
func cleanMappings(smaps io.Reader, file string) (out []mapping, err error) {
	lines := bufio.NewScanner(smaps)
	var now mapping
	clean := false
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 5 && strings.Contains(fields[0], "-"):
			now, clean = mapping{}, false
			if len(fields) == 6 && fields[5] == file && (fields[1] == "r-xp" || fields[1] == "r--p") {
				now, clean = addresses(fields[0])
			}
		case clean && len(fields) == 3 && (fields[0] == "Private_Dirty:" || fields[0] == "Anonymous:"):
			clean = fields[1] == "0"
		case clean && len(fields) > 0 && fields[0] == "VmFlags:": // the last line of a mapping
			out, clean = append(out, now), false
		}
	}
	return out, lines.Err()
}

func addresses(text string) (m mapping, ok bool) {
	from, to, _ := strings.Cut(text, "-")
	start, err1 := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	return mapping{uintptr(start), uintptr(end)}, err1 == nil && err2 == nil && start < end
}
