// Package audit compares what an account was allowed with what it asked an API server for, as the server's audit log tells.
package audit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Request is what somebody asked an API server for.
type Request struct {
	User string
	// Verb, and what it was asked of; Resource has its subresource after a slash, as rules have.
	Verb, Group, Resource, Namespace, Name string
	// Path, where it was of no resource.
	Path string
	// Code is the answer's, of HTTP; 0: there was none yet.
	Code int
}

func (r Request) String() string { return fmt.Sprintf("%s: %s (%d)", r.User, r.what(), r.Code) }

func (r Request) what() string {
	what := r.Path
	if r.Resource != "" {
		what = r.Resource
		if r.Group != "" {
			what += " of " + r.Group
		}
		if r.Namespace != "" {
			what += " in namespace " + r.Namespace
		}
		if r.Name != "" {
			what += ", " + r.Name
		}
	}
	return r.Verb + " " + what
}

// event is what is read of an audit.k8s.io/v1 Event.
type event struct {
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	User       struct {
		Username string `json:"username"`
	} `json:"user"`
	Object *struct {
		Resource    string `json:"resource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		Group       string `json:"apiGroup"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
	Response *struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

// Read reads a log, as kube-apiserver writes it with --audit-log-format=json, and hands each request on; equal ones too. The log may end in
// the middle of a line: the server is still writing.
func Read(log io.Reader, each func(Request)) error {
	in := bufio.NewReader(log)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the audit log: %w", err)
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("read line %d of the audit log: %w", n, err)
		}
		r := Request{User: e.User.Username, Verb: e.Verb}
		if e.Response != nil {
			r.Code = e.Response.Code
		}
		if o := e.Object; o != nil {
			r.Group, r.Resource, r.Namespace, r.Name = o.Group, o.Resource, o.Namespace, o.Name
			if o.Subresource != "" {
				r.Resource += "/" + o.Subresource
			}
		} else {
			r.Path, _, _ = strings.Cut(e.RequestURI, "?")
		}
		each(r)
	}
}

// Right is one verb on one kind of resource, or path, which a rule grants; where the rule names objects, on one of these.
type Right struct {
	Verb, Group, Resource, Name string
	Path                        string
	Namespace                   string // that it is limited to
}

func (r Right) String() string {
	return Request{Verb: r.Verb, Group: r.Group, Resource: r.Resource, Namespace: r.Namespace, Name: r.Name, Path: r.Path}.what()
}

// Rights are what rules grant, one by one. A wildcard is one right, which no request uses: nobody should have it.
func Rights(namespace string, rules []rbacv1.PolicyRule) []Right {
	var rights []Right
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, verb := range rule.Verbs {
			for _, path := range rule.NonResourceURLs {
				rights = append(rights, Right{Verb: verb, Path: path})
			}
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, name := range names {
						rights = append(rights, Right{Verb: verb, Group: group, Resource: resource, Name: name, Namespace: namespace})
					}
				}
			}
		}
	}
	return rights
}

// Uses reports whether a request needs the right.
func (r Right) Uses(q Request) bool {
	return r.Verb == q.Verb && r.Group == q.Group && r.Resource == q.Resource && r.Path == q.Path &&
		(r.Name == "" || r.Name == q.Name) && (r.Namespace == "" || r.Namespace == q.Namespace)
}

// Unused are the rights that no request needed. Who watches may list as well: a client lists what an API server that cannot stream what there
// is (before 1.34) does not send it. A request that two rights allow needs the narrower: the one that names the object, or else
// the one that is limited to a namespace.
func Unused(rights []Right, requests []Request) []Right {
	return slices.DeleteFunc(slices.Clone(rights), func(r Right) bool {
		return slices.ContainsFunc(requests, func(q Request) bool {
			return (r.Uses(q) || r.Verb == "list" && r.with("watch").Uses(q)) && !slices.ContainsFunc(rights, func(n Right) bool { return n.width() < r.width() && n.Uses(q) })
		})
	})
}

func (r Right) with(verb string) Right {
	r.Verb = verb
	return r
}

// width of a right compares it with others that allow the same request.
func (r Right) width() int {
	w := 0
	if r.Name == "" {
		w += 2
	}
	if r.Namespace == "" {
		w++
	}
	return w
}
