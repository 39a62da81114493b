package snapshot

// packer cuts entries into state files. A goroutine hashes and writes one file while the store is
// read for the next, so a snapshot takes the time of the slower of the two. Three buffers bound its
// memory.
type packer struct {
	file  func(name string, content []byte) error
	state []byte // of the current file
	full  chan []byte
	free  chan []byte // emptied buffers; closed after an error
	ended chan struct{}
	files int
	err   error // of the goroutine, after ended
}

func newPacker(file func(name string, content []byte) error) *packer {
	p := &packer{file: file, full: make(chan []byte, 1), free: make(chan []byte, 3), ended: make(chan struct{})}
	for range cap(p.free) - 1 {
		p.free <- nil
	}
	go p.run(p.full)
	return p
}

func (p *packer) run(full <-chan []byte) {
	defer close(p.ended)
	for state := range full {
		if p.err != nil {
			continue
		}
		p.files++
		if p.err = p.file(stateFile(p.files), state); p.err != nil {
			close(p.free)
			continue
		}
		p.free <- state[:0]
	}
}

// add appends an entry. It fails soon after the goroutine has.
func (p *packer) add(key string, value []byte) error {
	p.state = appendEntry(p.state, key, value)
	if len(p.state) < fileSize {
		return nil
	}
	return p.flush()
}

func (p *packer) flush() error {
	p.full <- p.state
	next, ok := <-p.free
	if !ok {
		<-p.closed()
		return p.err
	}
	p.state = next
	return nil
}

// closed ends the goroutine.
func (p *packer) closed() <-chan struct{} {
	if p.full != nil {
		close(p.full)
		p.full = nil
	}
	return p.ended
}

// end writes the last file and ends the goroutine. It returns its error.
func (p *packer) end() error {
	if p.full != nil && len(p.state) > 0 {
		p.full <- p.state
	}
	<-p.closed()
	return p.err
}
