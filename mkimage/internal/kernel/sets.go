package kernel

import (
	"fmt"
	"slices"
	"strings"
)

// rootModules are what mounting a slot takes on every machine: the data partition, the squashfs in it, the overlay over
// that, and the boot partition with the environment block, which only a trial or a failure reads. Without one of them no
// slot of this kernel can ever boot.
var rootModules = []struct{ name, config string }{
	{"loop", "BLK_DEV_LOOP"},
	{"squashfs", "SQUASHFS_FS"},
	{"overlay", "OVERLAY_FS"},
	{"ext4", "EXT4_FS"},
	{vfatModule, "VFAT_FS"},
}

const vfatModule = "vfat"

// charsets returns the tables that vfat asks for when it is mounted with its defaults. It asks modprobe, which an initrd
// does not have; so they must be there first. Each module costs a signature check, about 10 million instructions, so
// where the kernel's configuration is known only the two it names are taken.
func charsets(c Config) []string {
	if c == nil {
		return []string{"nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8"}
	}
	var names []string
	if page := c["FAT_DEFAULT_CODEPAGE"]; page != "" {
		names = append(names, "nls_cp"+page)
	}
	if set := c["FAT_DEFAULT_IOCHARSET"]; set != "" {
		names = append(names, "nls_"+strings.ReplaceAll(set, "-", "_"))
	}
	return names
}

// verityModule is for a root with a dm-verity tree. crypto-sha256 is an alias: whoever can hash.
const verityModule, verityHash = "dm_verity", "crypto-sha256"

// fastHashes are SHA-256 by instructions that not every processor has; init loads the one that claims the processor. The
// root is read through it, and the kernel checks the signatures of the other modules with it: with SHA-NI, openssl hashes
// 1,834 MB/s on a machine where it does 480 with AVX2, and the kernel's C code half of that.
var fastHashes = []string{"sha256_ssse3", "sha2_ce", "sha256_arm64"}

// groups are the drivers between a machine's firmware and its disks, by the hardware they are for. init loads those that
// the machine has. The names of all kernels and architectures stand together: what a kernel does not have is passed over.
var groups = []struct {
	name    string
	modules []string
}{
	{"virtio", []string{"virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "sd_mod"}},
	{"virtio-blk", []string{"virtio_pci", "virtio_mmio", "virtio_blk"}}, // without SCSI, which is more than the rest together
	{"nvme", []string{"nvme", "vmd"}},
	{"ahci", []string{"ahci", "ahci_platform", "ata_piix", "ata_generic", "sd_mod"}},
	// The RAID and SAS controllers of servers: Broadcom, Microchip, HPE, Areca, HiSilicon.
	{"raid", []string{"megaraid_sas", "mpt3sas", "mpi3mr", "aacraid", "smartpqi", "hpsa", "arcmsr", "hisi_sas_v3_hw", "sd_mod"}},
	{"usb", []string{"xhci_pci", "xhci_hcd", "xhci_plat_hcd", "ehci_pci", "ehci_hcd", "ehci_platform", "ohci_pci", "uhci_hcd",
		"dwc2", "dwc3", "dwc3_of_simple", "reset_raspberrypi", "usb_storage", "uas", "sd_mod",
		// For a person with a keyboard at the rescue prompt; PS/2 is built in everywhere.
		"usbhid", "hid_generic"}},
	{"mmc", []string{"mmc_block", "sdhci", "sdhci_pci", "sdhci_acpi", "rtsx_pci", "rtsx_pci_sdmmc",
		"sdhci_iproc", "bcm2835", "sdhci_of_arasan", "sdhci_of_esdhc", "sdhci_of_dwcmshc", "sdhci_esdhc_imx", "sdhci_tegra", "sdhci_msm",
		"sdhci_cadence", "sdhci_xenon_driver", "dw_mmc_rockchip", "dw_mmc_pltfm", "meson_gx_mmc", "sunxi_mmc", "mtk_sd", "clk_raspberrypi"}},
	{"pcie", []string{"pcie_brcmstb", "pcie_rockchip_host"}},
	{"ufs", []string{"ufshcd_pci", "ufshcd_pltfrm", "ufs_qcom", "sd_mod"}},
	{"hyperv", []string{"hv_vmbus", "hv_storvsc", "pci_hyperv", "hyperv_keyboard", "sd_mod"}},
	{"vmware", []string{"vmw_pvscsi", "mptspi", "mptsas", "sd_mod"}},
	{"xen", []string{"xen_blkfront"}},
	// These reset a machine whose trial boot hangs before anybody can commit.
	{"watchdog", []string{"i6300esb", "iTCO_wdt", "sp5100_tco", "wdat_wdt", "bcm2835_wdt"}},
}

// Groups returns the names of the groups of drivers that Want.Drivers takes.
func Groups() []string {
	var names []string
	for _, g := range groups {
		names = append(names, g.name)
	}
	return names
}

// drivers returns the modules of the groups that want names, of all for none.
func drivers(want []string) ([]string, error) {
	var modules []string
	for _, name := range want {
		if !slices.Contains(Groups(), name) {
			return nil, fmt.Errorf("no group of drivers %q: want %s", name, strings.Join(Groups(), ", "))
		}
	}
	for _, g := range groups {
		if len(want) == 0 || slices.Contains(want, g.name) {
			modules = append(modules, g.modules...)
		}
	}
	return modules, nil
}
