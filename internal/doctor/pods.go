package doctor

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// How long a pod may take to start, and for how long after a container has ended that is told of.
const (
	startTime = time.Minute
	recently  = 10 * time.Minute
)

// podsOf a program: those that its selector selects, and apart from them those of them that are on their way out.
func (e *examiner) podsOf(selector *metav1.LabelSelector) (pods, leaving []*corev1.Pod) {
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		s = labels.Nothing() // cannot be: the API server has taken it
	}
	for i := range e.in.Pods.Is {
		switch p := &e.in.Pods.Is[i]; {
		case !s.Matches(labels.Set(p.Labels)):
		case p.DeletionTimestamp.IsZero():
			pods = append(pods, p)
		default:
			leaving = append(leaving, p)
		}
	}
	return pods, leaving
}

// podTrouble finds why a pod does not run, or what has become of it lately.
func (e *examiner) podTrouble(p *corev1.Pod) {
	level, why := podState(p, e.in.Now)
	if why != "" {
		e.find(level, "Pod "+p.Namespace+"/"+p.Name, "%s", why)
	}
}

// remains reports whether a pod of a Deployment has ended for good, as those do that a node evicts or that run while it is shut down. They are
// left where they are, and others take their place: what is missing the Deployment's status says.
func remains(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
}

// podState says why a pod does not run; empty: it does.
func podState(p *corev1.Pod, now time.Time) (Level, string) {
	if p.Status.Phase == corev1.PodFailed {
		return Problem, fmt.Sprintf("it has failed: %s; kubectl -n %s describe pod %s says more", said(p.Status.Reason, p.Status.Message), p.Namespace, p.Name)
	}
	if c := podCondition(p, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse {
		return Problem, fmt.Sprintf("it has no node: %s. Make room for it, or see its nodeSelector and tolerations", said(c.Reason, c.Message))
	}
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			if why := containerState(p, &list[i]); why != "" {
				return Problem, fmt.Sprintf("container %s %s", list[i].Name, why)
			}
		}
	}
	began := p.CreationTimestamp.Time
	if p.Status.StartTime != nil {
		began = p.Status.StartTime.Time
	}
	if c := podCondition(p, corev1.PodReady); c == nil || c.Status != corev1.ConditionTrue {
		if c != nil && !c.LastTransitionTime.IsZero() {
			began = c.LastTransitionTime.Time
		}
		waited := now.Sub(began).Round(time.Second)
		if waited < startTime {
			return Warning, "it is starting: look again in a minute"
		}
		return Problem, fmt.Sprintf("it has not been ready for %s: kubectl -n %s describe pod %s and kubectl -n %s logs %s say why", waited, p.Namespace, p.Name, p.Namespace, p.Name)
	}
	for i := range p.Status.ContainerStatuses {
		c := &p.Status.ContainerStatuses[i]
		if t := c.LastTerminationState.Terminated; t != nil && now.Sub(t.FinishedAt.Time) < recently {
			return Warning, fmt.Sprintf("container %s runs again, and %s: see that this does not go on", c.Name, ended(p, c.Name, t))
		}
	}
	return OK, ""
}

// containerState says why a container does not run, and what to do; empty: it does, or is about to.
func containerState(p *corev1.Pod, c *corev1.ContainerStatus) string {
	switch w := c.State.Waiting; {
	case w != nil:
		switch w.Reason {
		case "", "ContainerCreating", "PodInitializing":
			return ""
		case "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable", "ImageInspectError":
			return fmt.Sprintf("has no image %s (%s): push it to a registry that the nodes reach, and name it there in config/default (kustomize edit set image), or as image.repository and image.tag of the chart", c.Image, said(w.Reason, w.Message))
		case "CrashLoopBackOff":
			if t := c.LastTerminationState.Terminated; t != nil {
				return fmt.Sprintf("does not stay up (%s, started %d times): it %s", w.Reason, c.RestartCount, ended(p, c.Name, t))
			}
		}
		return fmt.Sprintf("waits: %s; kubectl -n %s describe pod %s says more", said(w.Reason, w.Message), p.Namespace, p.Name)
	case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
		return "has ended: it " + ended(p, c.Name, c.State.Terminated)
	}
	return ""
}

// ended says how a container ended.
func ended(p *corev1.Pod, container string, t *corev1.ContainerStateTerminated) string {
	text := fmt.Sprintf("last ended with exit code %d", t.ExitCode)
	if s := said(t.Reason, t.Message); s != "" {
		text += " (" + s + ")"
	}
	if t.Reason == "OOMKilled" {
		return text + ": raise its memory limit"
	}
	return fmt.Sprintf("%s; kubectl -n %s logs %s -c %s --previous", text, p.Namespace, p.Name, container)
}

// said joins what is there of a reason and a message, in one line.
func said(reason, message string) string {
	message = strings.Join(strings.Fields(message), " ")
	switch {
	case reason == "":
		return message
	case message == "":
		return reason
	}
	return reason + ": " + message
}

func podCondition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}
