import PageTables

extension WalkComparison {
  /// Both walks as a flowchart that GitHub draws (Mermaid). Numbers and words of our own only, so that no text can break it.
  var mermaid: String {
    let geometry = root.mode.geometry
    var lines = [
      "flowchart LR", "  iova([\"IOVA \(iova)\"])", "  root[\"root table<br>\(root.address)\"]", "  iova --> root",
    ]
    if let wrong {
      lines += path(wrong.walk, name: "used", end: "used", link: "-.->") { level in
        level == wrong.level ? "shift \(wrong.shift)" : "shift \(geometry.levels[level].shift)"
      }
    }
    lines += path(right, name: "right", end: right.target == nil ? "fault" : "good", link: "==>") { level in
      "shift \(geometry.levels[level].shift)"
    }
    if wrong != nil, right.target == nil, let last = right.steps.last, let leaf {
      lines.append("  right\(last.level)x -. \"should lead to\" .-> wanted[\"\(leaf.entry.address)\"]:::good")
    }
    lines += [
      "  classDef good stroke:#0072b2,stroke-width:3px",
      "  classDef used stroke:#e69f00,stroke-width:3px,stroke-dasharray:6 3",
      "  classDef fault stroke:#d55e00,stroke-width:4px",
    ]
    return lines.joined(separator: "\n")
  }

  private func path(_ walk: Walk, name: String, end: String, link: String, shift: (Int) -> String) -> [String] {
    var lines: [String] = []
    var from = "root"
    for step in walk.steps {
      let isLast = step == walk.steps.last
      let node = "\(name)\(step.level)\(isLast ? "x" : "")"
      let slot = "level \(step.level) slot \(step.index)<br>\(shift(step.level))"
      let text =
        isLast
        ? "\(step.entryAddress) = \(hex(step.entry.rawValue))<br>\(ending(walk.outcome))"
        : "table<br>\(step.entry.address)"
      lines.append("  \(from) \(link)|\"\(slot)\"| \(node)[\"\(text)\"]\(isLast ? ":::\(end)" : "")")
      from = node
    }
    return lines
  }

  /// The outcome in a word or two.
  private func ending(_ outcome: Walk.Outcome) -> String {
    switch outcome {
    case .mapped(let target, _, _): "leads to \(target)"
    case .notMapped: "not valid"
    case .malformed: "malformed"
    case .unreadable: "goes on where memory cannot be read"
    case .notCanonical: "not canonical"
    }
  }
}
