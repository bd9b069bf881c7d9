package election

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"testing"
)

var addr = netip.MustParseAddr("192.168.100.240")

func node(name string, change ...func(*Node)) Node {
	n := Node{Name: name, Alive: true, Serves: 1, DataplaneReady: true}
	for _, f := range change {
		f(&n)
	}
	return n
}

// byScore names n1..n3 in the order that the hash alone gives for addr.
func byScore(t *testing.T) (string, string, string) {
	t.Helper()
	r := Elect(addr, []Node{node("n1"), node("n2"), node("n3")})
	return r.Verdicts[0].Node, r.Verdicts[1].Node, r.Verdicts[2].Node
}

func TestScoreVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/score.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Node, Address, Score string
	}
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 6 {
		t.Fatalf("%d vectors, want at least 6", len(vectors))
	}
	for _, v := range vectors {
		if got := fmt.Sprintf("%016x", Score(v.Node, netip.MustParseAddr(v.Address))); got != v.Score {
			t.Errorf("Score(%q, %s) = %s, the protocol says %s", v.Node, v.Address, got, v.Score)
		}
	}
}

func TestElectOrder(t *testing.T) {
	one, two, three := byScore(t)
	draining := func(n *Node) { n.Draining = true }
	stopping := func(n *Node) { n.Stopping = true }
	settling := func(n *Node) { n.Settling = true }
	broken := func(n *Node) { n.DataplaneReady = false }
	dead := func(n *Node) { n.Alive = false }
	weight := func(w int) func(*Node) { return func(n *Node) { n.Weight = w } }
	serves := func(s int) func(*Node) { return func(n *Node) { n.Serves = s } }
	ineligible := func(r Reason) func(*Node) { return func(n *Node) { n.Ineligible = r } }

	tests := []struct {
		name           string
		nodes          []Node
		owner, standby string
		ignored        []Gate
		reasons        map[string]Reason
	}{
		{name: "nobody"},
		{name: "hash alone", nodes: []Node{node(three), node(one), node(two)}, owner: one, standby: two,
			reasons: map[string]Reason{one: Owner, two: Standby, three: LowerScore}},
		{name: "dead owner", nodes: []Node{node(one, dead), node(two), node(three)}, owner: two, standby: three,
			reasons: map[string]Reason{one: NotAlive}},
		{name: "weight beats hash", nodes: []Node{node(one), node(two), node(three, weight(5))}, owner: three, standby: one,
			reasons: map[string]Reason{two: LowerPreference}},
		{name: "draining goes last of equals", nodes: []Node{node(one, draining), node(two), node(three)}, owner: two, standby: three,
			reasons: map[string]Reason{one: Draining}},
		{name: "weight beats draining", nodes: []Node{node(one, draining, weight(1)), node(two)}, owner: one, standby: two},
		{name: "settling beats weight and what is served", nodes: []Node{node(one, settling, weight(100), serves(2)), node(two), node(three)}, owner: two, standby: three,
			reasons: map[string]Reason{one: Settling}},
		{name: "settling goes before stopping", nodes: []Node{node(one, stopping), node(two, settling)}, owner: two, standby: one},
		{name: "all are settling", nodes: []Node{node(one, settling), node(two, settling)}, owner: one, standby: two},
		{name: "stopping beats weight", nodes: []Node{node(one, stopping, weight(100)), node(two), node(three)}, owner: two, standby: three,
			reasons: map[string]Reason{one: Stopping}},
		{name: "broken data plane goes last", nodes: []Node{node(one, broken, weight(9)), node(two), node(three)}, owner: two, standby: three,
			reasons: map[string]Reason{one: DataplaneNotReady}},
		{name: "all broken: gate ignored", nodes: []Node{node(one, broken), node(two, broken)}, owner: one, standby: two,
			ignored: []Gate{GateDataplane}},
		{name: "all stopping: gate ignored", nodes: []Node{node(one, stopping)}, owner: one, ignored: []Gate{GateStopping}},
		{name: "all stopping, which is nobody's reason", nodes: []Node{node(one, stopping), node(two, stopping), node(three, stopping)}, owner: one, standby: two,
			ignored: []Gate{GateStopping}, reasons: map[string]Reason{three: LowerScore}},
		{name: "stopping with a data plane beats staying without", nodes: []Node{node(one, broken), node(two, stopping)}, owner: two,
			standby: one, ignored: []Gate{GateStopping}},
		{name: "serving more Services of a shared address", nodes: []Node{node(one), node(two, serves(2)), node(three, serves(2))},
			owner: min2(t, two, three), standby: max2(t, two, three), reasons: map[string]Reason{one: ServesFewer}},
		{name: "ineligible", nodes: []Node{node(one, ineligible(NoLocalEndpoint)), node(two, ineligible(Excluded)), node(three)}, owner: three,
			reasons: map[string]Reason{one: NoLocalEndpoint, two: Excluded, three: Owner}},
		{name: "none eligible", nodes: []Node{node(one, ineligible(NotSelected)), node(two, dead)},
			reasons: map[string]Reason{one: NotSelected, two: NotAlive}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Elect(addr, tt.nodes)
			if r.Owner != tt.owner || r.Standby != tt.standby {
				t.Errorf("owner %q standby %q, want %q and %q", r.Owner, r.Standby, tt.owner, tt.standby)
			}
			if !reflect.DeepEqual(r.Ignored, tt.ignored) {
				t.Errorf("ignored gates %v, want %v", r.Ignored, tt.ignored)
			}
			if len(r.Verdicts) != len(tt.nodes) {
				t.Errorf("%d verdicts for %d nodes", len(r.Verdicts), len(tt.nodes))
			}
			for _, v := range r.Verdicts {
				if want, ok := tt.reasons[v.Node]; ok && v.Reason != want {
					t.Errorf("%s: %s, want %s", v.Node, v.Reason, want)
				}
			}
		})
	}
}

func min2(t *testing.T, a, b string) string {
	t.Helper()
	return Elect(addr, []Node{node(a), node(b)}).Owner
}

func max2(t *testing.T, a, b string) string {
	t.Helper()
	return Elect(addr, []Node{node(a), node(b)}).Standby
}

func TestElectDoesNotDependOnOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var nodes []Node
		for i := range 1 + rng.IntN(7) {
			nodes = append(nodes, Node{Name: fmt.Sprintf("node%d", i), Alive: rng.IntN(4) > 0, Serves: rng.IntN(2), Weight: rng.IntN(3),
				Draining: rng.IntN(3) == 0, Stopping: rng.IntN(3) == 0, DataplaneReady: rng.IntN(3) > 0})
		}
		want := Elect(addr, nodes)
		if (want.Owner != "") != slices.ContainsFunc(nodes, func(n Node) bool { return n.Alive }) {
			t.Fatalf("owner %q of %+v: an address goes dark only without a candidate", want.Owner, nodes)
		}
		rng.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		if got := Elect(addr, nodes); !reflect.DeepEqual(got, want) {
			t.Fatalf("order of input matters: %+v, then %+v", want, got)
		}
	}
}

// TestLosingANode: only the lost node's addresses move, each to its standby.
func TestLosingANode(t *testing.T) {
	for _, count := range []int{2, 3, 5, 10} {
		var nodes []Node
		for i := range count {
			nodes = append(nodes, node(fmt.Sprintf("node%d", i+1)))
		}
		for a := range addresses(1000) {
			before := Elect(a, nodes)
			for lost := range nodes {
				left := slices.Delete(slices.Clone(nodes), lost, lost+1)
				want := before.Owner
				if nodes[lost].Name == before.Owner {
					want = before.Standby
				}
				if after := Elect(a, left); after.Owner != want {
					t.Fatalf("%s without %s: owner %s, want %s", a, nodes[lost].Name, after.Owner, want)
				}
			}
		}
	}
}

// TestSpread: of 1,000 addresses no node has a share more than 15 % from even. The shares are those of chance, whose standard deviation is
// 4.5 %, so that of many ranges a few are an exception.
func TestSpread(t *testing.T) {
	nodes := []Node{node("node1"), node("node2"), node("node3")}
	far := 0
	a := netip.MustParseAddr("10.1.0.0")
	for range 300 {
		owned := map[string]int{}
		for range 1000 {
			a = a.Next()
			owned[Elect(a, nodes).Owner]++
		}
		for _, n := range nodes {
			if even := 1000 / 3.0; float64(owned[n.Name]) < 0.85*even || float64(owned[n.Name]) > 1.15*even {
				far++
			}
		}
	}
	if far > 3 {
		t.Errorf("of 900 shares %d are more than 15 %% from even, 1 or so may be", far)
	}
	owned, standby := map[string]int{}, map[string]int{}
	for a := range addresses(1000) {
		r := Elect(a, nodes)
		owned[r.Owner]++
		standby[r.Standby]++
	}
	for _, n := range nodes {
		for what, count := range map[string]int{"owns": owned[n.Name], "is standby for": standby[n.Name]} {
			if even := 1000 / 3.0; float64(count) < 0.85*even || float64(count) > 1.15*even {
				t.Errorf("%s %s %d of 1000 addresses: more than 15 %% from even", n.Name, what, count)
			}
		}
	}
}

func addresses(n int) func(func(netip.Addr) bool) {
	return func(yield func(netip.Addr) bool) {
		a := netip.MustParseAddr("10.0.0.1")
		for range n {
			if !yield(a) {
				return
			}
			a = a.Next()
		}
	}
}

func BenchmarkElect100Nodes(b *testing.B) {
	var nodes []Node
	for i := range 100 {
		nodes = append(nodes, node(fmt.Sprintf("node%d", i)))
	}
	for b.Loop() {
		Elect(addr, nodes)
	}
}
