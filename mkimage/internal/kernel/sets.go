package kernel

import "strings"

// rootModules are what mounting a slot takes on every machine: the data partition, the squashfs in it, the overlay over
// that, and the boot partition with the environment block. Without one of them no slot of this kernel can ever boot.
var rootModules = []struct{ name, config string }{
	{"loop", "BLK_DEV_LOOP"},
	{"squashfs", "SQUASHFS_FS"},
	{"overlay", "OVERLAY_FS"},
	{"ext4", "EXT4_FS"},
	{"vfat", "VFAT_FS"},
}

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

// verityModules are for a root with a dm-verity tree. crypto-sha256 is an alias: whoever can hash.
var verityModules = []string{"crypto-sha256", "dm_verity"}

// diskModules are the drivers between a machine's firmware and its disks. init loads those that the machine has. The
// names of all kernels and architectures stand together: what a kernel does not have is passed over.
var diskModules = strings.Fields(`
	virtio_pci virtio_mmio virtio_blk virtio_scsi
	nvme vmd
	ahci ahci_platform ata_piix ata_generic sd_mod
	xhci_pci xhci_hcd xhci_plat_hcd ehci_pci ehci_hcd ehci_platform ohci_pci uhci_hcd usb_storage uas
	mmc_block sdhci sdhci_pci sdhci_acpi rtsx_pci rtsx_pci_sdmmc
	hv_vmbus hv_storvsc pci_hyperv
	vmw_pvscsi mptspi mptsas
	xen_blkfront

	sdhci_iproc bcm2835 sdhci_of_arasan sdhci_of_esdhc sdhci_of_dwcmshc sdhci_esdhc_imx sdhci_tegra sdhci_msm sdhci_cadence
	sdhci_xenon_driver dw_mmc_rockchip dw_mmc_pltfm meson_gx_mmc sunxi_mmc mtk_sd
	dwc2 dwc3 dwc3_of_simple pcie_brcmstb pcie_rockchip_host reset_raspberrypi clk_raspberrypi ufs_qcom ufshcd_pci ufshcd_pltfrm
`)

// consoleModules are for a person at the rescue prompt with a USB keyboard; PS/2 is built in everywhere.
var consoleModules = strings.Fields("usbhid hid_generic hyperv_keyboard")

// watchdogModules reset a machine whose trial boot hangs before anybody can commit.
var watchdogModules = strings.Fields("i6300esb iTCO_wdt sp5100_tco wdat_wdt bcm2835_wdt")
