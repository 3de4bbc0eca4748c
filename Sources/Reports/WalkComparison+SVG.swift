import PageTables

extension WalkComparison {
  /// The walk as a picture: the bits of the IOVA that choose the slots, the tables, the slots, and where they lead.
  var svg: String {
    let columns = root.mode.levels
    let width = max(1000, 40 + columns * Self.step + 190)
    var canvas = SVGCanvas(width: width)
    canvas.text(24, 38, "\(root.mode.name) walk for IOVA \(iova)", size: 20, isBold: true)
    var y = 66.0
    drawBits(on: &canvas, &y, width: Double(width))
    let top = y + 16
    drawPath(right, lane: 0, top: top, on: &canvas, paint: right.target == nil ? .red : .blue, isShared: false)
    if let wrong { drawPath(wrong.walk, lane: 1, top: top, on: &canvas, paint: .orange, isShared: true) }
    y = top + (wrong == nil ? 1 : 2) * Self.laneHeight + 10
    if let leaf {
      canvas.text(
        24, y,
        "The leaf should be \(hex(leaf.entry.rawValue)) at level \(leaf.level): \(leaf.entry.meaning(atLevel: leaf.level))",
        size: 13)
      y += 14
    }
    return canvas.document(height: y + 14, title: "Walk for IOVA \(iova)")
  }

  private static let step = 230, laneHeight = 150.0, boxWidth = 190.0

  // MARK: The IOVA's bits

  private func drawBits(on canvas: inout SVGCanvas, _ y: inout Double, width: Double) {
    let geometry = root.mode.geometry
    let wrongTop = wrong.map { $0.shift + geometry.levels[$0.level].indexBits } ?? 0
    let bits = min(max(root.mode.inputBits, wrongTop), 64)
    let cell = min(17.0, (width - 48) / Double(bits))
    func x(_ bit: Int) -> Double { 24 + Double(bits - bit) * cell }
    func field(_ shift: Int, _ count: Int, _ label: String, above: Bool, color: String) {
      let (start, end) = (x(min(shift + count, bits)), x(shift))
      let line = above ? y + 20 : y + 50
      canvas.line(
        [(start + 2, line + (above ? 6 : -6)), (start + 2, line), (end - 2, line), (end - 2, line + (above ? 6 : -6))],
        color, width: 2)
      canvas.text(
        (start + end) / 2, above ? line - 6 : line + 16, label, size: 12, color: color, anchor: .middle, isBold: true)
    }
    for level in geometry.levels.indices {
      let its = geometry.levels[level]
      field(
        its.shift, its.indexBits,
        "level \(level) [\(its.shift + its.indexBits - 1):\(its.shift)] = \(geometry.index(of: iova, atLevel: level))",
        above: true,
        color: "#222222")
    }
    field(0, 12, "offset", above: true, color: "#777777")
    for bit in 0..<bits {
      let isOne = iova.rawValue >> UInt64(bit) & 1 == 1
      canvas.rectangle(
        x(bit + 1), y + 26, cell, 18, fill: isOne ? "#dddddd" : "#ffffff", stroke: "#999999", strokeWidth: 0.5)
      canvas.text(x(bit + 1) + cell / 2, y + 39, isOne ? "1" : "0", size: 11, anchor: .middle, isCode: true)
    }
    y += 60
    if let wrong {
      let its = geometry.levels[wrong.level]
      y -= 60
      field(
        wrong.shift, its.indexBits,
        "level \(wrong.level) with shift \(wrong.shift) = \(wrong.walk.geometry.index(of: iova, atLevel: wrong.level))",
        above: false, color: SVGCanvas.Paint.red.color)
      y += 80
    }
  }

  // MARK: The tables

  /// Draws one walk. A walk in the second lane shares its root table with the first.
  private func drawPath(
    _ walk: Walk, lane: Int, top: Double, on canvas: inout SVGCanvas, paint: SVGCanvas.Paint, isShared: Bool
  ) {
    let laneTop = top + Double(lane) * Self.laneHeight
    let title = lane == 0 ? "By the specification" : "Where the entries are"
    canvas.text(24, laneTop + 4, title, isBold: true)
    let dashes = lane == 0 ? "" : "6 3"
    for (position, step) in walk.steps.enumerated() {
      let x = 24 + Double(position * Self.step)
      let isLast = position == walk.steps.count - 1
      canvas.rectangle(
        x, laneTop + 14, Self.boxWidth, 110, fill: "#fafafa", stroke: "#777777", strokeWidth: 1.2, radius: 4)
      canvas.text(
        x + 10, laneTop + 33, "level \(step.level) table\(isShared && position == 0 ? ", the same" : "")", size: 12,
        isBold: true)
      canvas.text(x + 10, laneTop + 49, step.table.description, size: 12, isCode: true)
      canvas.rectangle(
        x + 6, laneTop + 60, Self.boxWidth - 12, 54, fill: "#ffffff", stroke: paint.color, strokeWidth: 2.4, radius: 3,
        dashes: dashes)
      canvas.text(x + 14, laneTop + 77, "slot \(step.index)", size: 12, isBold: true)
      canvas.text(x + 14, laneTop + 92, "at \(step.entryAddress)", size: 11, isCode: true)
      canvas.text(x + 14, laneTop + 107, "= \(hex(step.entry.rawValue))", size: 11, isCode: true)
      let next = x + Double(Self.step)
      canvas.line(
        [(x + Self.boxWidth - 6, laneTop + 87), (next - (isLast ? 2 : 2), laneTop + 87)], paint.color, width: 2.4,
        dashes: dashes,
        head: paint)
      if isLast { drawEnd(walk.outcome, x: next, y: laneTop + 60, on: &canvas, paint: paint) }
    }
    if walk.steps.isEmpty { drawEnd(walk.outcome, x: 24, y: laneTop + 60, on: &canvas, paint: paint) }
  }

  private func drawEnd(
    _ outcome: Walk.Outcome, x: Double, y: Double, on canvas: inout SVGCanvas, paint: SVGCanvas.Paint
  ) {
    let lines: [String] =
      switch outcome {
      case .mapped(let target, let bytes, let flags):
        ["leads to", target.description, "\(size(bytes)), \(flags.description)"]
      case .notMapped: ["✕ not valid:", "an access faults"]
      case .malformed(_, let problem): ["✕ malformed:", problem.description]
      case .unreadable(let failure): ["cannot be read:", failure.address.description]
      case .notCanonical: ["✕ not canonical"]
      }
    for (position, line) in lines.enumerated() {
      canvas.text(
        x + 6, y + 14 + Double(position) * 17, line, size: 13, color: paint == .orange ? "#8a5f00" : paint.color,
        isBold: position == 0)
    }
  }
}
