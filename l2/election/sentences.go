package election

var sentences = map[Reason]string{
	Owner:              "answers",
	Standby:            "is next, when the owner is lost",
	ServesFewer:        "can serve fewer of the Services that share the address",
	LowerPreference:    "has a lower preference weight (spec.preferredNodeSelectors)",
	Draining:           "is cordoned, and others are not",
	LowerScore:         "comes later by the hash of node and address, which spreads addresses over nodes",
	DataplaneNotReady:  "has a service proxy that is not healthy, and others have one that is",
	Stopping:           "has a speaker that is shutting down, and others have one that stays",
	Settling:           "has come back, or has an interface that has, a short while ago, and others have been well for longer (--l2-failback-delay)",
	NotAlive:           "has no live speaker",
	UnknownNode:        "has a speaker and no Node object",
	Excluded:           "is labelled node.kubernetes.io/exclude-from-external-load-balancers",
	NetworkUnavailable: "has the condition NetworkUnavailable",
	NotSelected:        "is selected by no L2Advertisement of the address (spec.nodeSelectors)",
	NoInterface:        "has no usable interface that an L2Advertisement of the address names (spec.interfaces)",
	NoLocalEndpoint:    "has no serving endpoint, and externalTrafficPolicy is Local",
}

// Sentence says of a node what the reason means: "node2 " + Sentence().
func (r Reason) Sentence() string { return sentences[r] }

// Sentence says what ignoring the gate means.
func (g Gate) Sentence() string {
	if g == GateDataplane {
		return "though its service proxy is not healthy, as nobody's is"
	}
	return "though its speaker is shutting down, as everybody's is"
}
