package webhook

// WithRotatorName is for tests with several managers: the names of controllers are unique in a process.
func (o Options) WithRotatorName(name string) Options {
	o.rotatorName = name
	return o
}
