// A stand-in for the CNI plugin ipvlan, for kernels that lack ipvlan: configuration, result and what the pod sees
// are the same, save that the pod's link is a veth. Mode l2 alone.
//
// The pod's end has the MAC address of the master, as each ipvlan link has, and sees all frames that come to that
// address: which of them are for its IP addresses is left to its own stack (hub.go).
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/containernetworking/plugins/pkg/ip"
	"github.com/containernetworking/plugins/pkg/ipam"
	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/containernetworking/plugins/pkg/utils/sysctl"
	"github.com/vishvananda/netlink"
)

type config struct {
	types.NetConf
	Master string `json:"master"`
	Mode   string `json:"mode"`
	MTU    int    `json:"mtu"`
}

func init() {
	// Network namespaces belong to threads.
	runtime.LockOSThread()
}

func main() {
	functions := skel.CNIFuncs{Add: add, Check: check, Del: del, Status: status}
	skel.PluginMainFuncs(functions, version.All, "CNI plugin ipvlan, a stand-in by veth")
}

func read(args *skel.CmdArgs) (*config, error) {
	conf := &config{}
	if err := json.Unmarshal(args.StdinData, conf); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if conf.Mode != "" && conf.Mode != "l2" {
		return nil, fmt.Errorf("this stand-in for ipvlan knows mode l2 alone, not %q", conf.Mode)
	}
	if conf.Master == "" {
		return nil, errors.New("this stand-in for ipvlan needs a master")
	}
	if conf.IPAM.Type == "" {
		return nil, errors.New("this stand-in for ipvlan needs an IPAM plugin")
	}
	return conf, nil
}

func add(args *skel.CmdArgs) (err error) {
	conf, err := read(args)
	if err != nil {
		return err
	}
	netns, err := ns.GetNS(args.Netns)
	if err != nil {
		return fmt.Errorf("opening the network namespace %q: %w", args.Netns, err)
	}
	defer netns.Close()

	link, err := connect(conf, args.IfName, netns)
	if err != nil {
		return err
	}
	found, err := ipam.ExecAdd(conf.IPAM.Type, args.StdinData)
	if err != nil {
		return errors.Join(err, remove(netns, args.IfName))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ipam.ExecDel(conf.IPAM.Type, args.StdinData), remove(netns, args.IfName))
		}
	}()
	result, err := current.NewResultFromResult(found)
	if err != nil {
		return err
	}
	if len(result.IPs) == 0 {
		return errors.New("the IPAM plugin gave no address")
	}
	for _, address := range result.IPs {
		address.Interface = current.Int(0)
	}
	result.Interfaces = []*current.Interface{link}
	result.DNS = conf.DNS
	if err = netns.Do(func(ns.NetNS) error { return ipam.ConfigureIface(args.IfName, result) }); err != nil {
		return err
	}
	return types.PrintResult(result, conf.CNIVersion)
}

// connect makes the pod's link, down and without addresses.
func connect(conf *config, name string, netns ns.NetNS) (*current.Interface, error) {
	master, err := netlink.LinkByName(conf.Master)
	if err != nil {
		return nil, fmt.Errorf("looking up the master %q: %w", conf.Master, err)
	}
	mtu := conf.MTU
	if mtu == 0 {
		mtu = master.Attrs().MTU
	}
	hub, err := hubOf(master)
	if err != nil {
		return nil, fmt.Errorf("connecting the pods of %q: %w", conf.Master, err)
	}
	nodeEnd, err := ip.RandomVethName()
	if err != nil {
		return nil, err
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = nodeEnd
	attributes.MTU = mtu
	pair := &netlink.Veth{
		LinkAttrs:        attributes,
		PeerName:         name,
		PeerHardwareAddr: master.Attrs().HardwareAddr,
		PeerNamespace:    netlink.NsFd(int(netns.Fd())),
	}
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("making %q: %w", name, err)
	}
	if err := errors.Join(plugIn(nodeEnd, hub), prepare(netns, name)); err != nil {
		return nil, errors.Join(err, remove(netns, name))
	}
	return &current.Interface{
		Name:    name,
		Mac:     master.Attrs().HardwareAddr.String(),
		Mtu:     mtu,
		Sandbox: netns.Path(),
	}, nil
}

func prepare(netns ns.NetNS, name string) error {
	return netns.Do(func(ns.NetNS) error {
		return errors.Join(
			set("ipv4", name, "arp_notify", "1"),
			set("ipv6", name, "ndisc_notify", "1"),
			// By the MAC address, all pods of a master would have the same link-local address.
			set("ipv6", name, "addr_gen_mode", "3"),
		)
	})
}

// set writes a setting of an interface; where the kernel lacks the address family, nothing happens.
func set(family, link, key, value string) error {
	if _, err := os.Stat("/proc/sys/net/" + family); err != nil {
		return nil
	}
	path := fmt.Sprintf("net/%s/conf/%s/%s", family, strings.ReplaceAll(link, ".", "/"), key)
	_, err := sysctl.Sysctl(path, value)
	return err
}

func remove(netns ns.NetNS, name string) error {
	return netns.Do(func(ns.NetNS) error {
		if err := ip.DelLinkByName(name); err != nil && !errors.Is(err, ip.ErrLinkNotFound) {
			return err
		}
		return nil
	})
}

func del(args *skel.CmdArgs) error {
	conf, err := read(args)
	if err != nil {
		return err
	}
	if err := ipam.ExecDel(conf.IPAM.Type, args.StdinData); err != nil {
		return err
	}
	if args.Netns == "" {
		return nil
	}
	netns, err := ns.GetNS(args.Netns)
	if err != nil {
		var gone ns.NSPathNotExistErr
		if errors.As(err, &gone) {
			return nil
		}
		return err
	}
	defer netns.Close()
	return remove(netns, args.IfName)
}

func check(args *skel.CmdArgs) error {
	conf, err := read(args)
	if err != nil {
		return err
	}
	if err := ipam.ExecCheck(conf.IPAM.Type, args.StdinData); err != nil {
		return err
	}
	if conf.RawPrevResult == nil {
		return errors.New("CHECK needs prevResult")
	}
	if err := version.ParsePrevResult(&conf.NetConf); err != nil {
		return err
	}
	result, err := current.NewResultFromResult(conf.PrevResult)
	if err != nil {
		return err
	}
	master, err := netlink.LinkByName(conf.Master)
	if err != nil {
		return fmt.Errorf("looking up the master %q: %w", conf.Master, err)
	}
	return ns.WithNetNSPath(args.Netns, func(ns.NetNS) error {
		link, err := netlink.LinkByName(args.IfName)
		if err != nil {
			return fmt.Errorf("looking up %q in the pod: %w", args.IfName, err)
		}
		if have, want := link.Attrs().HardwareAddr.String(), master.Attrs().HardwareAddr.String(); have != want {
			return fmt.Errorf("%q has the MAC address %s, and its master %q has %s", args.IfName, have, conf.Master, want)
		}
		if err := ip.ValidateExpectedInterfaceIPs(args.IfName, result.IPs); err != nil {
			return err
		}
		return ip.ValidateExpectedRoute(result.Routes)
	})
}

func status(args *skel.CmdArgs) error {
	conf, err := read(args)
	if err != nil {
		return err
	}
	return ipam.ExecStatus(conf.IPAM.Type, args.StdinData)
}
