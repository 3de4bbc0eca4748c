public import IOMMUModel

/// The translations of one text, by their events. When they were made is not known beside the calls: their events tell only
/// in which order they were read.
public struct ImportedTranslations: Hashable, Sendable {
  /// The text's name.
  public let file: String
  /// The first event and the last; events between them that are no translations do not count.
  public let events: ClosedRange<EventID>

  /// Those of `file`.
  public init(file: String, events: ClosedRange<EventID>) { (self.file, self.events) = (file, events) }

  static let prefix = Fact.importedFile("translations of ")

  /// The fact that keeps it: `imported translations of trace.txt`.
  public var factName: String { Self.prefix + file }

  /// `events 12 to 560`.
  public var factValue: String { "events \(events.lowerBound.rawValue) to \(events.upperBound.rawValue)" }

  /// Reads such a fact; nil for any other.
  public init?(factName: String, value: String) {
    let words = value.split(separator: " ")
    guard factName.hasPrefix(Self.prefix), words.count == 4, words[0] == "events", words[2] == "to",
      let first = Int64(words[1]), let last = Int64(words[3]), first <= last
    else { return nil }
    self.init(
      file: String(factName.dropFirst(Self.prefix.count)),
      events: EventID(rawValue: first)...EventID(rawValue: last))
  }
}

/// A command by which a device forgot what it kept, and when that was seen.
public struct RecordedInvalidation: Hashable, Sendable {
  /// The event.
  public let id: EventID
  /// The command.
  public let invalidation: DeviceInvalidation
}
