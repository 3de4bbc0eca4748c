import Foundation

extension LogLine.Meaning {
  /// What a line of the kernel's log tells, without its time; nil when it has nothing to do with an IOMMU.
  ///
  /// Wordings: Linux 5.10 to 7.2 `net/sched/sch_generic.c`, `drivers/iommu`, `drivers/vfio`; e1000e `netdev.c`. `isKernel` says
  /// that the line is known to be the kernel's: in text without times a message counts only where a log would have it, at
  /// the line's start or after `device: `, so that a sentence that quotes one is no evidence.
  public init?(text: some StringProtocol, isKernel: Bool) {
    if let known = Self.known.first(where: { pattern in pattern.words.allSatisfy { text.contains($0) } }) {
      guard isKernel || known.starts(text) else { return nil }
      self = known.meaning
    } else if isKernel, ["iommu", "IOMMU"].contains(where: { text.contains($0) }) {
      self = text.contains("Kernel command line") ? .other : .driver
    } else if isKernel, ["vfio", "VFIO"].contains(where: { text.contains($0) }) {
      self = .other
    } else {
      return nil
    }
  }

  private struct Pattern {
    let words: [String]
    let meaning: LogLine.Meaning

    /// Whether the message starts the line, or follows the names that the kernel puts before one.
    func starts(_ text: some StringProtocol) -> Bool {
      guard let first = words.first, let start = text.range(of: first)?.lowerBound else { return false }
      let before = text[..<start]
      return before.isEmpty
        || before.hasSuffix(": ") && before.split(separator: " ").count <= 8
          && before.unicodeScalars.allSatisfy { $0.isASCII && $0 != "`" && $0 != "|" }
    }
  }

  private static let known = [
    Pattern(words: ["NETDEV WATCHDOG", "timed out"], meaning: .watchdog),
    Pattern(words: ["Reset adapter unexpectedly"], meaning: .adapterReset),
    Pattern(words: ["Failed to set up IOMMU for device"], meaning: .dmaSetupFailed),
    Pattern(words: ["vfio-pci", "probe of ", " failed with error"], meaning: .bindRefused),
    // From Linux 6.6 the bus says it in other words.
    Pattern(words: ["vfio-pci", "probe with driver", "failed with error"], meaning: .bindRefused),
    Pattern(words: ["No interrupt remapping", "allow_unsafe_interrupts"], meaning: .unsafeInterrupts),
    Pattern(words: ["Adding to iommu group"], meaning: .groupAdded),
    // drivers/iommu/riscv/iommu.c: `Fault 13 devid: 0x8 iotval: ffefc002 iotval2: 0`.
    Pattern(words: ["Fault ", " devid: ", " iotval: "], meaning: .fault),
    Pattern(words: ["Unhandled context fault"], meaning: .fault),
    Pattern(words: ["DMAR: ", "fault addr"], meaning: .fault),
    Pattern(words: ["AMD-Vi: Event logged", "IO_PAGE_FAULT"], meaning: .fault),
  ]
}

extension LogLine {
  /// Where it stands and what it says, as evidence.
  var quoted: String { "\(origin), line \(line): \(text)" }
}
