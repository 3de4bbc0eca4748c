extension Report {
  /// The report as Markdown for GitHub.
  public func markdown() throws(ReportError) -> String {
    try ReportTemplate(Self.template, name: "the built-in template").render(value)
  }

  /// The report as a template has it; `name` is what an error calls the template.
  func markdown(template: String, name: String) throws(ReportError) -> String {
    try ReportTemplate(template, name: name).render(value)
  }
}

extension Report {
  /// The template of ``markdown()``, for a user to start from.
  public static let template = #"""
    {{! A report of IOMMULens, in Mustache. Its parts are those of docs/report-schema.json; of a list also NAME_count, and }}
    {{! NAME_more, how many of it are not shown. A name alone inserts a part; with # it repeats or leaves out what follows, }}
    {{! up to the same name with /; with ^ it keeps that only where there is no such part. }}
    # IOMMU investigation

    ## Summary

    {{#summary}}
    **{{headline}}**

    {{#change}}
    - **Where to look, what to change:** {{change}}
    {{/change}}
    {{#confidence}}
    - **How sure:** {{confidence}}
    {{/confidence}}
    {{#hit_count}}
    - **Hit:** {{#hit}}{{device}} ({{pages}} of {{of}} pages){{^last()}}, {{/last()}}{{/hit}}{{#hit_more}} and {{hit_more}} more{{/hit_more}}
    {{/hit_count}}
    {{#stale_unmaps}}
    - **Unmap calls that left entries behind:** {{stale_unmaps}}
    {{/stale_unmaps}}
    {{#others}}
    - **Explanation {{place}}:** {{title}} ({{support}})
    {{/others}}
    {{/summary}}

    ## Environment

    | what | value |
    |---|---|
    {{#environment}}
    | {{name}} | {{value}} |
    {{/environment}}
    {{#remarks_count}}

    {{#remarks}}
    - {{.}}
    {{/remarks}}
    {{/remarks_count}}
    {{#findings}}

    ## Finding {{place}}: {{title}}

    It explains {{support}}. Where to look, what to change: {{remedy}}

    {{#evidence}}
    - {{.}}
    {{/evidence}}
    {{#effects}}
    - **Breaks:** {{.}}
    {{/effects}}
    {{#against}}
    - **Against:** {{.}}
    {{/against}}
    {{#open_question}}
    - **Open:** {{open_question}}
    {{/open_question}}
    {{/findings}}
    {{#examples}}

    ## Evidence{{#finding}} for finding {{finding}}{{/finding}}: {{call}}, {{function}}

    | argument | value | meaning |
    |---|---|---|
    {{#arguments}}
    | {{name}} | {{value}} | {{meaning}} |
    {{/arguments}}
    {{#callers_count}}

    Called by {{#callers}}{{.}}{{^last()}} ← {{/last()}}{{/callers}}.
    {{/callers_count}}
    {{#origin}}

    Read in {{origin}}.
    {{/origin}}
    {{#walk}}

    ### Where {{mode}} looks for {{iova}}{{#wrong_shift}}, and where shift {{wrong_shift}} at level {{wrong_level}} leads{{/wrong_shift}}

    {{#wrong_shift}}
    | level | right slot (shift {{right_shift}} at level {{wrong_level}}) | it holds | slot with shift {{wrong_shift}} | it holds |
    |---|---|---|---|---|
    {{#levels}}
    | {{level}} | [{{slot}}] {{entry}} | {{value}} {{meaning}} | {{#used_entry}}[{{used_slot}}] {{used_entry}}{{/used_entry}} | {{used_value}} {{used_meaning}} |
    {{/levels}}

    - The right slots: {{outcome}}.
    - Shift {{wrong_shift}}: {{used_outcome}}.
    {{/wrong_shift}}
    {{^wrong_shift}}
    | level | slot | it should hold | it holds |
    |---|---|---|---|
    {{#levels}}
    | {{level}} | [{{slot}}] {{entry}} | {{expected}} {{expected_meaning}} | {{value}} {{meaning}} |
    {{/levels}}

    - The tables: {{outcome}}.
    {{/wrong_shift}}
    {{/walk}}
    {{#right_after}}
    - Right after the call: **{{verdict}}**{{^agrees}} on {{wrong}} of the {{pages}} pages looked at{{/agrees}}.
    {{/right_after}}
    {{#device}}
    - {{name}}: this IOVA {{outcome}}.{{#deviations}} It differs from the specification: {{.}}.{{/deviations}}
    {{/device}}
    {{#right_after}}
    {{#entries_count}}

    Entries as they were right after the call:

    | IOVA | walk ended at | holding | its leaf should be |
    |---|---|---|---|
    {{#entries}}
    | {{iova}} | level {{level}} | {{found}} | {{leaf_expected}} |
    {{/entries}}
    {{/entries_count}}
    {{/right_after}}
    {{#walk}}
    {{#picture}}

    ```mermaid
    {{picture}}
    ```
    {{/picture}}
    {{/walk}}
    {{/examples}}

    ## Cross-check

    {{#check}}
    {{^pages}}
    Nothing to compare: no recorded call covers a page.
    {{/pages}}
    {{#pages}}
    {{^disagreeing}}
    All {{pages}} pages agree: {{mapped}} mapped, {{unmapped}} unmapped.
    {{/disagreeing}}
    {{#disagreeing}}
    {{disagreeing}} of {{pages}} pages disagree: {{#kinds}}{{pages}} {{verdict}}{{^last()}}, {{/last()}}{{/kinds}}.

    | IOVA | should lead to | says | tables | device |
    |---|---|---|---|---|
    {{#ranges}}
    | {{range}} | {{#target}}{{target}}{{/target}}{{^target}}{{extent}}{{/target}} | {{calls}} | {{tables}} | {{device}} |
    {{/ranges}}
    {{#ranges_more}}

    … and {{ranges_more}} more ranges.
    {{/ranges_more}}
    {{/disagreeing}}
    {{/pages}}
    {{#left_out}}

    Left out: {{left_out}} map calls for more than a table can translate.
    {{/left_out}}
    {{/check}}
    {{#translated}}

    ## What the device was seen to translate

    {{summary}}
    {{#disagreements_count}}

    | IOVA | translations | should lead to | says | verdict |
    |---|---|---|---|---|
    {{#disagreements}}
    | {{range}} | {{extent}} | {{target}} | {{#call}}{{call}}{{/call}}{{^call}}no map call{{/call}} | {{verdict}} |
    {{/disagreements}}
    {{#disagreements_more}}

    … and {{disagreements_more}} more.
    {{/disagreements_more}}
    {{/disagreements_count}}
    {{/translated}}
    {{#untranslated}}

    ## What the device did not ask for

    {{#summary}}
    - {{.}}
    {{/summary}}
    {{#ranges_count}}

    <details><summary>{{ranges_count}} ranges</summary>

    | IOVA | pages | says | device |
    |---|---|---|---|
    {{#ranges}}
    | {{range}} | {{pages}} | {{calls}} | {{device}} |
    {{/ranges}}
    {{#ranges_more}}

    … and {{ranges_more}} more.
    {{/ranges_more}}

    </details>
    {{/ranges_count}}
    {{/untranslated}}
    {{#registers_count}}

    ## Registers

    | offset | register | value | meaning |
    |---|---|---|---|
    {{#registers}}
    | {{offset}} | {{name}}{{#driver_name}} (driver: {{driver_name}}){{/driver_name}} | {{value}} | {{meaning}} |
    {{/registers}}
    {{/registers_count}}
    {{#devices_count}}

    ## Devices

    | device | bus | rsid | driver | group | default domain | DMA |
    |---|---|---|---|---|---|---|
    {{#devices}}
    | {{device}} | {{bus}} | {{rsid}} | {{driver}} | {{group}} | {{default_domain}} | {{dma}} |
    {{/devices}}
    {{#devices_more}}

    … and {{devices_more}} more.
    {{/devices_more}}
    {{/devices_count}}
    {{#log_count}}

    ## Log

    | from | time | line | tells |
    |---|---|---|---|
    {{#log}}
    | {{origin}} {{line}} | {{time}} | {{text}} | {{tells}} |
    {{/log}}
    {{#log_more}}

    … and {{log_more}} more lines.
    {{/log_more}}
    {{/log_count}}
    {{#notes_count}}

    ## Notes

    {{#notes}}
    - {{.}}
    {{/notes}}
    {{/notes_count}}
    {{#timeline}}
    {{#opening_count}}

    ## Timeline

    | event | seconds | side | what |
    |---|---|---|---|
    {{#opening}}
    | {{event}} | {{time}} | {{side}} | {{text}} |
    {{/opening}}
    {{#rest_count}}

    <details><summary>{{rest_count}} more lines</summary>

    | event | seconds | side | what |
    |---|---|---|---|
    {{#rest}}
    | {{event}} | {{time}} | {{side}} | {{text}} |
    {{/rest}}

    </details>
    {{/rest_count}}
    {{#is_cut}}

    More happened after that: `iommulens timeline` lists everything.
    {{/is_cut}}
    {{/opening_count}}
    {{/timeline}}

    ## Appendix: raw values

    {{^calls_count}}
    No call was recorded.
    {{/calls_count}}
    {{#calls_count}}
    <details><summary>{{calls_count}} recorded calls</summary>

    | call | device | IOVA | size | to | prot | right after |
    |---|---|---|---|---|---|---|
    {{#calls}}
    | {{kind}} #{{number}} | {{requester}} | {{iova}} | {{extent}} | {{target}} | {{protection}} | {{#finding}}{{finding}}{{/finding}}{{^finding}}not verified{{/finding}} |
    {{/calls}}
    {{#calls_more}}

    … and {{calls_more}} more calls in the investigation file.
    {{/calls_more}}

    </details>
    {{/calls_count}}
    {{#facts_count}}

    <details><summary>{{facts_count}} facts about the target</summary>

    | name | value |
    |---|---|
    {{#facts}}
    | {{name}} | {{value}} |
    {{/facts}}
    {{#facts_more}}

    … and {{facts_more}} more.
    {{/facts_more}}

    </details>
    {{/facts_count}}

    """#
}
