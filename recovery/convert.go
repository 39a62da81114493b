package recovery

// ForRecovery returns the share set for another use of the same shares: they no longer decrypt and
// only authorise, while a device unseals. The shares stay valid.
func (c *ShareSet) ForRecovery() *ShareSet {
	next := c.clone()
	next.Target, next.RecordKey, next.PreviousKey = Recovery, nil, nil
	return next
}

// ForBarrier returns the share set for another use of the same shares: they open the Shamir
// seal. It takes the key that the shares combine to. The shares stay valid.
func (c *ShareSet) ForBarrier(key *Secret) (*ShareSet, error) {
	if !c.VerifyKey(key) {
		return nil, ErrWrongKey
	}
	public, record, err := keysOf(Barrier, key)
	if err != nil {
		return nil, err
	}
	next := c.clone()
	next.Target, next.PublicKey, next.RecordKey, next.PreviousKey = Barrier, public, record, nil
	return next, nil
}
