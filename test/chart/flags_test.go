package chart

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// programs by their names among the values.
var programs = []string{"controller", "speaker"}

// flagsOf a program, as it prints them itself: the default by name, empty if that is the empty one.
func flagsOf(t *testing.T, program string) map[string]string {
	t.Helper()
	path := filepath.Join(root(t), "bin", "fairlead-"+program)
	out, err := exec.CommandContext(t.Context(), path, "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%s --help (make build makes it): %v: %s", path, err, out)
	}
	all := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^  -(\S+)(?: .*)?\n    \t(.*)$`).FindAllStringSubmatch(string(out), -1) {
		all[m[1]] = ""
		if d := regexp.MustCompile(`\(default (.*)\)$`).FindStringSubmatch(m[2]); d != nil {
			all[m[1]] = strings.Trim(d[1], `"`)
		}
	}
	if len(all) < 15 {
		t.Fatalf("%d flags were found in what %s --help prints:\n%s", len(all), path, out)
	}
	return all
}

// setBy are the flags that values set, by the comments in values.yaml, with the value's path.
func setBy(t *testing.T, program string) map[string]value {
	t.Helper()
	named := regexp.MustCompile("\\((both programs' )?`--([a-z0-9-]+)`\\)")
	all, _ := values(t)
	out := map[string]value{}
	for _, v := range all {
		m := named.FindStringSubmatch(v.meaning)
		if m != nil && (m[1] != "" || !strings.HasPrefix(v.path, "controller.") && !strings.HasPrefix(v.path, "speaker.") || strings.HasPrefix(v.path, program+".")) {
			out[m[2]] = v
		}
	}
	return out
}

// TestFlags: what a comment in values.yaml says of a flag is so, and each flag of the programs can be given: by its value, or among extraArgs, where one
// that something else depends on is refused with the value's name.
func TestFlags(t *testing.T) {
	for _, program := range programs {
		t.Run(program, func(t *testing.T) {
			flags, set := flagsOf(t, program), setBy(t, program)
			for name, v := range set {
				initial, has := flags[name]
				if !has {
					t.Errorf("%s: the program has no flag --%s", v.path, name)
				}
				switch want := strings.Trim(v.initial, `"`); {
				case want == "null": // the program's own
				case name == "zap-log-level" && want == "info": // its help does not say
				case want == "false" && initial == "", want == initial, strings.HasSuffix(initial, ":"+want):
				default:
					t.Errorf("%s is %s by default, and --%s is %q", v.path, v.initial, name, initial)
				}
			}
			var given []string
			for name := range flags {
				v, bound := set[name]
				// Nothing follows these two but a port's number, which is there for people.
				if name == "namespace" || bound && name != "metrics-bind-address" && name != "interfaces-exclude" {
					want := v.path
					if name == "namespace" {
						want = "the release's namespace"
					}
					form := "--" + name + "=x"
					if strings.HasPrefix(name, "l") {
						form = "-" + name // Go takes both
					}
					if says := refused(t, program+": {extraArgs: ["+form+"]}"); !strings.Contains(says, program+".extraArgs has --"+name+", which is set elsewhere: use "+want) {
						t.Errorf("extraArgs with %s: %s", form, says)
					}
					continue
				}
				given = append(given, "--"+name+"=x")
			}
			slices.Sort(given)
			var want []string
			for i, arg := range given {
				want = append(want, strings.ReplaceAll(program+" container.args[#]: none -> ", "#", string(rune('0'+i/10))+string(rune('0'+i%10)))+arg)
			}
			got := differences(render(t, ""), render(t, program+": {extraArgs: ["+strings.Join(given, ", ")+"]}"))
			for i, line := range got {
				got[i] = regexp.MustCompile(`args\[(\d)\]`).ReplaceAllString(line, "args[0$1]")
			}
			same(t, got, want)
		})
	}
}
