public import Investigation
public import LinuxKernel

extension EvidenceReader {
  /// What messages of the kernel's log, read from its memory, say about the IOMMU and the devices behind it.
  public func logLines(of records: [KernelLogRecord]) -> [LogLine] {
    let text = records.flatMap(\.consoleLines).joined(separator: "\n")
    return read(Array(text.utf8), name: "kernel log").findings.compactMap { finding in
      if case .log(let line) = finding.evidence { line } else { nil }
    }
  }
}
