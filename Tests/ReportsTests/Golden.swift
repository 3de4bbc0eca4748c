import Foundation
import IOMMUModel
import Investigation
import PageTables
import Simulation
import Testing

@testable import Reports

/// The two investigations that the reports are shown on.
struct Shown {
  let workspace: Workspace
  let scenario: Scenario
  let findings: Findings

  init(rootShift: Int) throws {
    workspace = try Workspace()
    scenario = try Scenario(rootShift: rootShift, path: workspace.file("a.iommulens"))
    findings = try scenario.investigator.findings(reason: "test")
  }

  func call(_ number: Int, map: Bool = true) throws -> RecordedCall {
    try #require(findings.calls.first { $0.number == number && $0.call.isMap == map })
  }

  func verification(_ call: RecordedCall) throws -> Verification {
    try #require(call.id.flatMap { findings.verifications[$0] })
  }

  func translation(_ call: RecordedCall, _ access: Access = .read) throws -> DeviceTranslation {
    findings.profile.device.translate(
      call.call.iova, access: access, requester: try #require(call.requester), registers: try #require(findings.registers),
      memory: findings.memory)
  }

  func outcome(_ call: RecordedCall) throws -> String {
    Terminal.outcome(
      call, verification: try verification(call), device: try translation(call), diagnosis: findings.diagnosis,
      memory: findings.memory)
  }

  func prediction(_ call: RecordedCall) throws -> String {
    let root = try #require(call.root)
    return try Terminal.prediction(
      call.call, runs: findings.profile.leaves(of: call.call, mode: root.mode), geometry: root.mode.geometry, root: root,
      memory: findings.memory)
  }
}

@Suite struct Look {
  @Test func look() throws {
    for shift in [48, 30] {
      let shown = try Shown(rootShift: shift)
      func show(_ title: String, _ text: String) { print("=== \(shift) \(title)\n\(text)") }
      for call in shown.findings.calls {
        show("call", Terminal.call(call, version: KernelVersion(major: 6, minor: 1)))
        if call.call.isMap { show("prediction", try shown.prediction(call)) }
        show("outcome", try shown.outcome(call))
      }
      let first = try shown.call(1)
      let root = try #require(first.root)
      show("walk", Terminal.walk(root.mode.geometry.walk(first.call.iova, root: root.address, in: shown.findings.memory), requester: first.requester))
      show("deviceWalk", Terminal.deviceWalk(try shown.translation(first), name: "QEMU xmmuv1", access: .read))
      show("devices", Terminal.devices(try shown.scenario.investigator.contexts()))
      show("registers", Terminal.registers(try #require(shown.findings.registers), device: shown.findings.profile.device, block: GPA(0x2c00_0000)))
      show("check", Terminal.check(shown.findings.check, limit: 20))
      show("check 1", Terminal.check(shown.findings.check, limit: 1))
      show("diagnosis", Terminal.diagnosis(shown.findings.diagnosis))
      show("opened", try Terminal.opened(shown.scenario.investigator.requireStore()))
      show("status", Terminal.status(shown.scenario.investigator))
      for raw in [false, true] {
        var text = ""
        try Terminal.dump(root, memory: shown.findings.memory, filter: DumpFilter(), raw: raw) { text += $0 }
        show("dump", text)
      }
      let text = MarkdownReport(shown.findings).text()
      try text.write(toFile: "/tmp/look-\(shift).md", atomically: true, encoding: .utf8)
    }
  }
}
