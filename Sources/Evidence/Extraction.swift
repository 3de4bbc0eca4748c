public import IOMMUModel
public import Investigation
public import LinuxKernel
public import PageTables

/// Something that a text tells, as an investigation keeps it.
public enum Evidence: Hashable, Sendable {
  /// A call of a driver's map or unmap function, or of the kernel's trace points for them. The profile is that of the driver
  /// whose signature it has; nil for a trace point.
  case call(RecordedCall, profile: String?)
  /// Translations that a device made.
  case translations([RecordedTranslation])
  /// A line of a kernel's log, or a warning of several lines.
  case log(LogLine)
  /// A request for a DMA cookie.
  case cookie(CookieRequest)
  /// Registers of the device at one moment.
  case registers(RegisterValues)
  /// Pages of tables, by address.
  case pages([GPA: [UInt8]])
  /// What was noted beside captured pages.
  case capture(TableCapture)
  /// Tables that were written down entry by entry.
  case table(TypedTable)
  /// How the kernel had set up its devices.
  case state(KernelState)
  /// Options of a kernel's configuration.
  case configuration(KernelConfiguration)
  /// An index computed in a driver's source.
  case sourceIndex(SourceIndex)
  /// The kernel's release as a warning names it, for want of its banner: `6.4.0-rc1 #91`.
  case release(String)
  /// A fact by its name in `Fact`.
  case fact(name: String, value: String)
  /// A backtrace that was understood, but of another function: the functions in it, innermost first.
  case otherBacktrace([String])
}

/// Something read, and where.
public struct Finding: Hashable, Sendable {
  /// The lines it stands in, 1 for the first.
  public let lines: ClosedRange<Int>
  /// What it is.
  public let evidence: Evidence
  /// What must be said about how it was read, a sentence each.
  public let remarks: [String]
  /// The device whose own words it is in, by `DeviceModel.name`; nil when the text does not show one.
  public let device: String?
  /// The number that the text gives a call; nil when it gives none.
  public let number: UInt64?

  /// Something read.
  public init(
    lines: ClosedRange<Int>, evidence: Evidence, remarks: [String] = [], device: String? = nil, number: UInt64? = nil
  ) {
    (self.lines, self.evidence, self.remarks) = (lines, evidence, remarks)
    (self.device, self.number) = (device, number)
  }
}

/// Lines that look like evidence and could not be read.
public struct Refusal: Hashable, Sendable {
  /// The lines, 1 for the first.
  public let lines: ClosedRange<Int>
  /// Why, as a sentence.
  public let reason: String

  /// Lines that could not be read.
  public init(lines: ClosedRange<Int>, reason: String) { (self.lines, self.reason) = (lines, reason) }
}

/// Lines that tell nothing about an IOMMU, by what they are.
public enum Noise: String, Hashable, Sendable, CaseIterable {
  /// The kernel's log about other things.
  case log = "of the log about other things"
  /// What a debugger or a monitor was asked, and answers that nothing is taken from.
  case transcript = "of a debugger's transcript"
  /// The numbers of a code block that a web page was copied with.
  case numbers = "with a number alone"
  /// What a device's implementation wrote down beside translations, faults and invalidations.
  case trace = "of a device's trace about other things"
  /// What was recorded while it was written.
  case followed = "that were recorded while they were written"
  /// Nothing.
  case blank
  /// Everything else: prose, source code.
  case other = "of other text"
}

/// What one text gave.
public struct Extraction: Sendable {
  /// The text's name: its file.
  public let name: String
  /// How many lines it has.
  public let lineCount: Int
  /// What was read, in the order of the lines.
  public let findings: [Finding]
  /// What looked like evidence and was not read.
  public let refusals: [Refusal]
  /// How many lines tell nothing, by kind.
  public let noise: [Noise: Int]

  /// The text as a whole, to know it again: FNV-1a over its bytes.
  public let fingerprint: UInt64
}
