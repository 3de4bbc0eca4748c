import IOMMUModel
import PageTables

/// What follows without the tables: from the driver's source, from what the device refused, from logs.
extension Symptoms {
  /// Causes that nothing in the tables could show; `others` are those that they did.
  func indirectCauses(after others: [Diagnosis.Hypothesis]) -> [Diagnosis.Hypothesis] {
    var found: [Diagnosis.Hypothesis] = []
    if maps.isEmpty { found += sourceShifts() }
    if context.state == nil { found += [lostDomain()].compactMap { $0 } }
    return found
  }

  // MARK: An index in the source

  private func sourceShifts() -> [Diagnosis.Hypothesis] {
    let indices = context.sourceIndices.indices
    guard let table = context.sourceIndices.mode else { return [] }
    return indices.compactMap { index in
      let expected = table.shift(atLevel: index.level)
      let known = context.kernel?.mode.flatMap { index.shift(under: $0) } ?? index.fixed
      if let known, known == expected { return nil }
      guard known != nil || index.followsMode else { return nil }
      return sourceShift(index, shift: known, table: table, count: indices.count)
    }
  }

  private func sourceShift(
    _ index: SourceIndices.Index, shift: Int?, table: PagingMode, count: Int
  ) -> Diagnosis.Hypothesis? {
    let expected = table.shift(atLevel: index.level)
    let refused = (context.translations?.lines.filter(byVerdict: { $0 == .refusedThoughMapped })).map(Array.init) ?? []
    // The shifts that it may be: one when the CPU's mode is known.
    let possible =
      shift.map { [(PagingMode?.none, $0)] }
      ?? [PagingMode.sv39, .sv48, .sv57].compactMap { mode in index.shift(under: mode).map { (mode, $0) } }
    let wrong = possible.filter { $0.1 != expected }
    func slot(_ iova: IOVA, _ shift: Int) -> Int {
      table.geometry.replacing(shift: shift, atLevel: index.level).index(of: iova, atLevel: index.level)
    }
    // A refusal is explained where every such shift leads to another entry than the device reads.
    let explained = refused.filter { line in
      wrong.allSatisfy { slot(line.translation.iova, $0.1) != slot(line.translation.iova, expected) }
    }
    // What is only a trap for another CPU is no cause while nothing goes wrong.
    if shift == nil, explained.isEmpty { return nil }
    let place = index.level == table.levels - 1 ? "the root is indexed" : "level \(index.level) is indexed"
    let correct = "this table is \(table.name): \(expected)"
    let name = index.source.shift
    let title =
      if let shift, index.followsMode, let cpu = context.kernel?.mode {
        "\(place) with shift \(shift), \(name) of the CPU's \(cpu.name); \(correct)"
      } else if let shift {
        "\(place) with shift \(shift)\(Int(name) == nil ? ", \(name)" : ""); \(correct)"
      } else {
        "\(place) with \(name), which follows the CPU's mode; \(correct)"
      }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .wrongShift(
        Diagnosis.WrongShift(
          level: index.level, shifts: wrong.reduce(into: ShiftSet()) { $0.insert(ShiftSet($1.1)) }, shift: shift,
          expected: expected)),
      title: title,
      support: refused.isEmpty
        ? Diagnosis.Support(explained: 1, total: count, unit: "index")
        : Diagnosis.Support(explained: explained.count, total: refused.count, unit: "refused access"),
      evidence: ["\(index.source.origin): \(index.source.name) = \(index.source.expression)."],
      remedy: "compute \(index.source.name) with shift \(expected) (\(table.name), level \(index.level)), "
        + "whatever mode the CPU runs; the same in unmap and iova_to_phys.")
    hypothesis.evidence.append(
      "The source computes \(count) indices, \(count - 1) of them with the shifts of \(table.name): "
        + "\(count) levels, the root's shift is \(expected).")
    if index.followsMode {
      hypothesis.evidence.append(
        "\(name) is "
          + [PagingMode.sv39, .sv48, .sv57].compactMap { mode in
            index.shift(under: mode).map { "\($0) under \(mode.name)" }
          }
          .joined(separator: ", ") + ": it is right for this table only by luck.")
    }
    for line in explained.prefix(2) {
      let iova = line.translation.iova
      let slots = Set(wrong.map { slot(iova, $0.1) }).sorted().map(String.init).joined(separator: " or ")
      hypothesis.evidence.append(
        "The device refused \(iova), which map #\(line.call?.number ?? 0) maps to \(line.expected ?? GPA(0)): it looks in "
          + "entry \(slot(iova, expected)), and with shift \(wrong.map { String($0.1) }.joined(separator: " or ")) "
          + "the driver writes entry \(slots).")
    }
    hypothesis.evidence += stepPatterns() + logSymptoms()
    hypothesis.counterEvidence = ["No captured table shows where the entries really are."]
    if shift == nil {
      hypothesis.openQuestion =
        "The CPU's mode, without which the shift is not known: `p/x $satp` at a stop in the kernel."
    }
    hypothesis.present = lines.isEmpty ? 1 : 0
    hypothesis.precedence = 5
    return hypothesis
  }

  /// What the steps say in which the device was asked, in words.
  private func stepPatterns() -> [String] {
    guard let span = profile.device.translationSpan else { return [] }
    let runs = (context.translations?.lines.lazy.map(\.translation).filter { $0.count > 1 }).map(Array.init) ?? []
    var sentences: [String] = []
    if let run = runs.first(where: { $0.stride == TranslationCheck.unassignedStep && $0.stride != span }) {
      sentences.append(
        "From \(run.iova) on the device was asked in steps of \(run.stride) bytes: that is QEMU accessing unassigned memory, "
          + "where a refused access goes.")
    }
    if let run = runs.first(where: { $0.stride == span }) {
      sentences.append(
        "From \(run.iova) on it was also asked in steps of \(span == 1 ? "1 byte" : "\(span) bytes"), as it is when "
          + "translation works: \(profile.device.name) answers for so much at a time.")
    }
    return sentences
  }

  private func logSymptoms() -> [String] {
    let line = context.log.last { $0.meaning == .watchdog } ?? context.log.last { $0.meaning == .adapterReset }
    guard let line else { return [] }
    return [line.quoted]
  }

  // MARK: A domain that is lost

  /// No default domain, without the kernel's structures: from requests for cookies, or from what the log says.
  private func lostDomain() -> Diagnosis.Hypothesis? {
    let failed = context.log.filter { $0.meaning == .dmaSetupFailed }
    let said = failed.prefix(2).map(\.quoted)
    if let second = context.cookies.first(where: \.isSecond) {
      let requests = context.cookies.filter { $0.domain == second.domain }
      let driver = requests.last { !$0.isSecond }?.callers.first ?? "the driver"
      return Diagnosis.Hypothesis(
        cause: .noDefaultDomain(secondCookie: true),
        title: "the default domain is lost to a second DMA cookie: the driver takes the one that the core takes itself",
        support: Diagnosis.Support(
          explained: Set(context.cookies.filter(\.isSecond).map(\.domain)).count,
          total: Set(context.cookies.map(\.domain)).count, unit: "domain"),
        evidence: requests.suffix(2).map(\.sentence) + [
          "__iommu_domain_alloc then frees the domain, and the group is left without one."
        ] + said,
        remedy: "remove the call of iommu_get_dma_cookie from \(driver): since 5.19 the core makes it.")
    }
    guard let first = failed.first else { return nil }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .noDefaultDomain(secondCookie: false),
      title: "devices have no default domain and work around the IOMMU: its set-up failed",
      support: Diagnosis.Support(explained: failed.count, total: failed.count, unit: "log line"), evidence: Array(said),
      remedy: "does domain_alloc accept IOMMU_DOMAIN_DMA, and does it leave the DMA cookie to the core?",
      openQuestion: "Why \(first.origin) says so: who asks for a DMA cookie, and what domain_alloc returns.")
    hypothesis.precedence = -1
    return hypothesis
  }

  // MARK: What else speaks for a cause

  /// `found` with what was seen beside the tables and agrees with it.
  func corroborated(_ found: [Diagnosis.Hypothesis]) -> [Diagnosis.Hypothesis] {
    let misled = misledRuns
    let reached = context.translations?.lines.filter(byVerdict: \.isAfterUnmap)
    return found.map { hypothesis in
      var hypothesis = hypothesis
      if let shift = hypothesis.wrongShift, !maps.isEmpty { hypothesis.evidence += besides(shift) }
      let runs = misled.filter { hypothesis.ranges.contains($0.key) }.sorted { $0.key < $1.key }.flatMap(\.value)
      if let first = runs.first {
        hypothesis.evidence.append(
          "The device was seen to go there, in \(counted(runs.count, "run")) of translations: \(first.sentence)")
      }
      if hypothesis.cause.isWrongUnmapping, let reached, let first = reached.first {
        hypothesis.evidence.append(
          "The device was seen to reach it, in \(counted(reached.count, "run")) of translations: \(first.sentence)")
      }
      return hypothesis
    }
  }

  /// What else speaks for a wrong shift.
  private func besides(_ shift: Diagnosis.WrongShift) -> [String] {
    var evidence: [String] = []
    if let told = context.laterVerification {
      evidence.append("The entries were looked up in captures made later, not right after each call: \(told).")
    }
    if let index = context.sourceIndices.indices.first(where: { $0.level == shift.level }) {
      evidence.append("\(index.source.origin): \(index.source.name) = \(index.source.expression).")
    }
    if let refused = context.translations?.lines.filter(byVerdict: { $0 == .refusedThoughMapped }),
      let first = refused.first
    {
      evidence.append(
        "The device was seen to refuse what is mapped, in \(counted(refused.count, "run")) of translations, first at "
          + "\(first.translation.iova), which map #\(first.call?.number ?? 0) maps to \(first.expected ?? GPA(0)).")
    }
    return evidence
  }
}

extension SourceIndex {
  /// `(iova >> PGDIR_SHIFT) & PAGE_TABLE_LEVEL_MASK`.
  var expression: String { "(\(operand) >> \(shift)) & \(mask)" }
}

extension CookieRequest {
  /// `iommu_get_dma_cookie(0x…) by f: granted.`
  var sentence: String {
    "iommu_get_dma_cookie(\(domain)) by \(callers.first ?? "an unknown caller"): "
      + (isSecond ? "the domain has a cookie already, -EEXIST." : "granted.")
  }
}
