import IOMMUModel
import Investigation

/// A timeline for a reader: of events of one kind in a row the first ones, and how many more there were.
struct Story {
  /// A line of it.
  struct Line {
    /// The event's number, nanoseconds since the first event, the side that saw it.
    let event: Int64, time: Int64, side: String
    /// What happened.
    let text: String
  }

  /// The lines, in order.
  let lines: [Line]
  /// Whether it ends before the last event.
  let isCut: Bool

  /// Events of one kind in a row that are told one by one; lines in all; events looked at.
  private static let told = 3, room = 200, reach = 4000
  /// Lines that a reader sees at once.
  private static let opening = 12

  /// The story of `store`, in the words of `device` and of the kernel's version.
  init(_ store: InvestigationStore, device: any DeviceModel, version: KernelVersion?) throws {
    struct Enough: Error {}
    var lines: [Line] = []
    var run = Run()
    var (seen, isCut) = (0, false)
    func endRun() {
      if let line = run.rest { lines.append(line) }
    }
    do {
      try Timeline(store).forEach { entry in
        seen += 1
        if seen > Self.reach || lines.count >= Self.room { throw Enough() }
        if !run.takes(entry) {
          endRun()
          run = Run(entry)
        }
        guard run.count <= Self.told else { return }
        let texts = Terminal.texts(entry.content, device: device, version: version)
        lines.append(
          Line(event: entry.id.rawValue, time: entry.time, side: entry.side, text: texts.joined(separator: "; ")))
      }
    } catch is Enough { isCut = true }
    endRun()
    (self.lines, self.isCut) = (lines, isCut)
  }

  /// Events of one kind in a row.
  private struct Run {
    private enum Kind { case calls, translations, refusals, other }

    private var kind = Kind.other
    private var last: Timeline.Entry?
    private(set) var count = 0
    private var (calls, wrong) = (0, 0)

    init() {}

    init(_ entry: Timeline.Entry) {
      kind = Self.kind(entry)
      count(entry)
    }

    /// Counts `entry` if it goes on like this.
    mutating func takes(_ entry: Timeline.Entry) -> Bool {
      guard kind != .other, kind == Self.kind(entry), entry.side == last?.side else { return false }
      count(entry)
      return true
    }

    private mutating func count(_ entry: Timeline.Entry) {
      count += 1
      last = entry
      guard count > Story.told else { return }
      switch entry.content {
      case .call: calls += 1
      case .wrong: wrong += 1
      default: break
      }
    }

    private static func kind(_ entry: Timeline.Entry) -> Kind {
      switch entry.content {
      case .call, .wrong: .calls
      case .translation(let translation, let changes) where changes.isEmpty:
        translation.isRefused == true ? .refusals : .translations
      default: .other
      }
    }

    /// What is to be said of those that were not told one by one; nil when all were.
    var rest: Line? {
      guard let last, count > Story.told else { return nil }
      let text =
        switch kind {
        case .calls: "… \(counted(calls, "more call")), \(wrong) found wrong"
        case .translations: "… \(counted(count - Story.told, "more run")) of translations"
        case .refusals: "… \(counted(count - Story.told, "more run")) of refused translations"
        case .other: "… \(counted(count - Story.told, "more event"))"
        }
      return Line(event: last.id.rawValue, time: last.time, side: last.side, text: text)
    }
  }
}

extension Story {
  /// The first lines, the others, and whether there is more to tell.
  var value: ReportValue {
    func list(_ lines: ArraySlice<Line>) -> ReportValue {
      .list(
        ReportList(lines, limit: Self.room) { line in
          .object([
            ("event", .number(line.event)), ("time_ns", .number(line.time)),
            ("time", .markup(Terminal.seconds(line.time))),
            ("side", .text(line.side)), ("text", .text(line.text)),
          ])
        })
    }
    // One line more takes no more room than to say that there is one.
    let opening = lines.count == Self.opening + 1 ? lines.count : Self.opening
    return .object([
      ("opening", list(lines.prefix(opening))), ("rest", list(lines.dropFirst(opening))),
      ("is_cut", .flag(isCut)),
    ])
  }
}
