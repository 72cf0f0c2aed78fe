package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The pods of a master and the master itself are joined by a hub: a bridge that learns nothing, so that each frame
// goes to all others. The master is no port of it, since a bridge keeps what comes to the address of a port: what
// comes to the master's address, and copies of what comes to all, are put on a wire into the hub (tc, at ingress),
// and what comes out of that wire leaves by the master. The node itself can thus have no address on the master.
//
// It is made with the first pod and stays until the node's network namespace goes.

// hubOf returns the hub of a master; it is made where there is none.
func hubOf(master netlink.Link) (netlink.Link, error) {
	// Pods start side by side: one of them at a time in this network namespace.
	namespace, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	if err := unix.Flock(int(namespace.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("locking the node's network namespace: %w", err)
	}
	index := master.Attrs().Index
	name := fmt.Sprintf("ivhub%d", index)
	hub, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	switch {
	case err == nil && hub.Attrs().Flags&net.FlagUp != 0:
		return hub, nil
	case err == nil:
		// Who made it was killed before it was whole.
		err = netlink.LinkDel(hub)
	case errors.As(err, &missing):
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return makeHub(master, name)
}

func makeHub(master netlink.Link, name string) (netlink.Link, error) {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = name
	snooping := false
	hub := &netlink.Bridge{LinkAttrs: attributes, MulticastSnooping: &snooping}
	if err := netlink.LinkAdd(hub); err != nil {
		return nil, err
	}
	wire, err := makeWire(master, hub)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(fromMaster(master, wire), toMaster(wire, master)); err != nil {
		return nil, err
	}
	if err := set("ipv6", name, "disable_ipv6", "1"); err != nil {
		return nil, err
	}
	// Up last: it says that the hub is whole.
	return hub, netlink.LinkSetUp(hub)
}

func makeWire(master, hub netlink.Link) (netlink.Link, error) {
	index := master.Attrs().Index
	inHub := fmt.Sprintf("ivport%d", index)
	attributes := netlink.NewLinkAttrs()
	attributes.Name = fmt.Sprintf("ivwire%d", index)
	attributes.MTU = master.Attrs().MTU
	if old, err := netlink.LinkByName(attributes.Name); err == nil {
		if err := netlink.LinkDel(old); err != nil {
			return nil, err
		}
	}
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: inHub}); err != nil {
		return nil, err
	}
	wire, err := netlink.LinkByName(attributes.Name)
	if err != nil {
		return nil, err
	}
	return wire, errors.Join(
		set("ipv6", attributes.Name, "disable_ipv6", "1"),
		netlink.LinkSetUp(wire),
		plugIn(inHub, hub),
	)
}

// plugIn makes an interface of the node a port of the hub, without any traffic of the node's own on it.
func plugIn(name string, hub netlink.Link) error {
	port, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMaster(port, hub); err != nil {
		return err
	}
	if err := netlink.LinkSetLearning(port, false); err != nil {
		return err
	}
	return errors.Join(set("ipv6", name, "disable_ipv6", "1"), netlink.LinkSetUp(port))
}

func fromMaster(master, wire netlink.Link) error {
	if err := ingress(master); err != nil {
		return err
	}
	// The first bit of an Ethernet address: for a group. Those the node sees, too.
	group := selector(nl.TcU32Key{Off: -14, Mask: 0x01000000, Val: 0x01000000})
	mac := master.Attrs().HardwareAddr
	own := selector(
		nl.TcU32Key{Off: -14, Mask: 0xffffffff, Val: binary.BigEndian.Uint32(mac[:4])},
		nl.TcU32Key{Off: -10, Mask: 0xffff0000, Val: uint32(binary.BigEndian.Uint16(mac[4:])) << 16},
	)
	return errors.Join(
		filter(master, 1, group, netlink.TCA_EGRESS_MIRROR, netlink.TC_ACT_PIPE, wire),
		filter(master, 2, own, netlink.TCA_EGRESS_REDIR, netlink.TC_ACT_STOLEN, wire),
	)
}

func toMaster(wire, master netlink.Link) error {
	if err := ingress(wire); err != nil {
		return err
	}
	return filter(wire, 1, nil, netlink.TCA_EGRESS_REDIR, netlink.TC_ACT_STOLEN, master)
}

func ingress(link netlink.Link) error {
	attributes := netlink.QdiscAttrs{
		LinkIndex: link.Attrs().Index,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}
	qdisc := &netlink.GenericQdisc{QdiscAttrs: attributes, QdiscType: "clsact"}
	if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("tc qdisc on %s: %w", link.Attrs().Name, err)
	}
	return nil
}

func selector(keys ...nl.TcU32Key) *nl.TcU32Sel {
	return &nl.TcU32Sel{Flags: nl.TC_U32_TERMINAL, Nkeys: uint8(len(keys)), Keys: keys}
}

func filter(
	link netlink.Link, priority uint16, which *nl.TcU32Sel, how netlink.MirredAct, verdict netlink.TcAct, to netlink.Link,
) error {
	action := netlink.NewMirredAction(to.Attrs().Index)
	action.MirredAction = how
	action.Action = verdict
	attributes := netlink.FilterAttrs{
		LinkIndex: link.Attrs().Index,
		Parent:    netlink.HANDLE_MIN_INGRESS,
		Priority:  priority,
		Protocol:  unix.ETH_P_ALL,
	}
	// A hub that was not whole has left its filters.
	if old, err := netlink.FilterList(link, netlink.HANDLE_MIN_INGRESS); err == nil {
		for _, each := range old {
			if each.Attrs().Priority == priority {
				_ = netlink.FilterDel(each)
			}
		}
	}
	rule := &netlink.U32{FilterAttrs: attributes, Sel: which, Actions: []netlink.Action{action}}
	if err := netlink.FilterAdd(rule); err != nil {
		return fmt.Errorf("tc filter on %s: %w", link.Attrs().Name, err)
	}
	return nil
}
