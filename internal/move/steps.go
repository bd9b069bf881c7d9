package move

import "slices"

// Step of a move.
type Step struct {
	ID ID
	// Title says what is done, Why what it means for those who use the Services.
	Title, Why string
	// Done: there is nothing left of it.
	Done bool
}

// ID of a step.
type ID string

// The steps there, and those back.
const (
	Remember         ID = "remember"
	ImportQuiet      ID = "import-pools"
	StopControllers  ID = "stop-metallb-controller"
	StartController  ID = "start-controller"
	StartSpeakers    ID = "start-speakers"
	StopSpeakers     ID = "stop-metallb-speakers"
	ImportAnnouncing ID = "import-advertisements"
	Verify           ID = "verify"

	StopController   ID = "stop-controller"
	StartControllers ID = "start-metallb-controller"
	StopOurSpeakers  ID = "stop-speakers"
	StartTheirs      ID = "start-metallb-speakers"
	RemoveImported   ID = "remove-imported"
	Forget           ID = "forget"
)

// Dark reports whether nobody announces during the step, or at its end: it is no place to be interrupted at.
func (id ID) Dark() bool {
	return slices.Contains([]ID{StopSpeakers, ImportAnnouncing, StartSpeakers, StopOurSpeakers, StartTheirs}, id)
}

// State is how far a move has come.
type State struct {
	// Remembered: there is a record of the addresses. Finished: and they were found to be right at the end.
	Remembered, Finished bool
	// Quiet and Announcing objects are still to be imported.
	Quiet, Announcing bool
	// MetalLB's controllers and speakers, Fairlead's controller and speakers: do they run?
	Controllers, Speakers, OurController, OurSpeakers bool
	// MetalLB's programs or webhooks have marks of a stop.
	Kept bool
	// Webhooks of MetalLB are called.
	Webhooks bool
	// Announces: there are advertisements of Fairlead's or BGPPeers, so that its speakers announce as soon as they run.
	Announces bool
	// Imported: there are objects that were imported.
	Imported bool
}

// Warm reports whether Fairlead's speakers can be started before MetalLB's are stopped: they have nothing to announce, or run already.
func (s *State) Warm() bool { return !s.Announces || s.OurSpeakers }

// Steps from MetalLB to Fairlead, in order. All that takes time comes before MetalLB's speakers are stopped.
func Steps(s *State) []Step {
	steps := map[ID]Step{
		// As long as MetalLB gives addresses the record is made anew.
		Remember:         {Title: "remember which addresses Services have", Why: "to compare afterwards", Done: s.Remembered && !s.Controllers},
		ImportQuiet:      {Title: "import pools, communities, BFD profiles and passwords", Why: "they announce nothing", Done: !s.Quiet},
		StopControllers:  {Title: "stop MetalLB's controller and its webhooks", Why: "its speakers go on announcing; new Services wait", Done: !s.Controllers && !s.Webhooks},
		StartController:  {Title: "start Fairlead's controller", Why: "it takes the addresses over as they are; new Services are served again", Done: s.OurController},
		StartSpeakers:    {Title: "start Fairlead's speakers", Why: "they have nothing to announce yet", Done: s.OurSpeakers},
		StopSpeakers:     {Title: "stop MetalLB's speakers", Why: "from here on nobody announces", Done: !s.Speakers},
		ImportAnnouncing: {Title: "import BGP peers and advertisements", Why: "Fairlead's speakers announce", Done: !s.Announcing},
		Verify:           {Title: "verify that no address has changed and each is announced", Done: s.Finished},
	}
	order := []ID{Remember, ImportQuiet, StopControllers, StartController, StartSpeakers, StopSpeakers, ImportAnnouncing, Verify}
	if !s.Warm() {
		order = []ID{Remember, ImportQuiet, ImportAnnouncing, StopControllers, StartController, StopSpeakers, StartSpeakers, Verify}
		x := steps[StartSpeakers]
		x.Why = "they announce as soon as they run, because there are advertisements or BGP peers already"
		steps[StartSpeakers] = x
		x = steps[ImportAnnouncing]
		x.Why = "Fairlead's speakers do not run yet"
		steps[ImportAnnouncing] = x
	}
	return inOrder(order, steps)
}

// StepsBack from Fairlead to MetalLB. Only one of the two ever gives addresses, and only one announces.
func StepsBack(s *State, remove bool) []Step {
	steps := map[ID]Step{
		Remember:         {Title: "remember which addresses Services have", Why: "to compare afterwards", Done: !s.OurController},
		StopController:   {Title: "stop Fairlead's controller", Why: "its speakers go on announcing; new Services wait", Done: !s.OurController},
		StartControllers: {Title: "start MetalLB's controller and its webhooks as they were", Why: "it takes the addresses over as they are; new Services are served again", Done: !s.Kept || s.Controllers && s.Webhooks},
		StopOurSpeakers:  {Title: "stop Fairlead's speakers", Why: "from here on nobody announces", Done: !s.OurSpeakers},
		StartTheirs:      {Title: "start MetalLB's speakers as they were", Why: "they announce", Done: !s.Kept || s.Speakers},
		RemoveImported:   {Title: "remove the objects that were imported", Why: "--remove-imported asks for it", Done: !s.Imported},
		Forget:           {Title: "verify that no address has changed, and remove what was remembered", Done: !s.Remembered},
	}
	order := []ID{Remember, StopController, StartControllers, StopOurSpeakers, StartTheirs, RemoveImported, Forget}
	if !remove {
		order = []ID{Remember, StopController, StartControllers, StopOurSpeakers, StartTheirs, Forget}
	}
	return inOrder(order, steps)
}

func inOrder(order []ID, steps map[ID]Step) []Step {
	out := make([]Step, len(order))
	for i, id := range order {
		out[i] = steps[id]
		out[i].ID = id
	}
	return out
}

// AllDone reports whether no step is left.
func AllDone(steps []Step) bool {
	for _, s := range steps {
		if !s.Done {
			return false
		}
	}
	return true
}
