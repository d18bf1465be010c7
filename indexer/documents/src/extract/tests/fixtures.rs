//! Small files of each format, as programs write them.

use std::io::Write as _;

use rawzip::{CompressionMethod, ZipArchiveWriter};

/// A zip of these members.
pub fn zip_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut zip = ZipArchiveWriter::new(&mut bytes);
    for (name, content) in members {
        let file = zip.new_file(rawzip::path::EntryPath::verbatim(name.as_bytes()));
        let (mut entry, config) = file
            .compression_method(CompressionMethod::DEFLATE)
            .start()
            .unwrap();
        let encoder =
            flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default());
        let mut writer = config.wrap(encoder);
        writer.write_all(content).unwrap();
        let (encoder, descriptor) = writer.finish().unwrap();
        encoder.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    zip.finish().unwrap();
    bytes
}

type Parts = Vec<(&'static str, String)>;

fn package(parts: &Parts) -> Vec<u8> {
    let members: Vec<(&str, &[u8])> = parts
        .iter()
        .map(|(name, text)| (*name, text.as_bytes()))
        .collect();
    zip_of(&members)
}

fn relationships(targets: &[(&str, &str, &str)]) -> String {
    let entry = |(id, kind, target): &(&str, &str, &str)| {
        format!(
            "<Relationship Id=\"{id}\" Type=\"http://schemas.example/{kind}\" Target=\"{target}\"/>"
        )
    };
    let entries: String = targets.iter().map(entry).collect();
    format!("<Relationships>{entries}</Relationships>")
}

pub fn docx() -> Vec<u8> {
    package(&docx_parts())
}

pub fn docx_parts() -> Parts {
    let paragraph = |properties: &str, text: &str| {
        format!("<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>")
    };
    let item = |level: usize, list: usize| {
        format!("<w:numPr><w:ilvl w:val=\"{level}\"/><w:numId w:val=\"{list}\"/></w:numPr>")
    };
    let cell = |inside: &str| format!("<w:tc><w:tcPr/>{inside}</w:tc>");
    let row = |cells: &[String]| format!("<w:tr>{}</w:tr>", cells.concat());
    let table = |rows: &[String]| format!("<w:tbl>{}</w:tbl>", rows.concat());
    let plain = |text: &str| cell(&paragraph("", text));
    let nested = table(&[row(&[plain("nested"), plain("cell")])]);
    let body = [
        paragraph("<w:pStyle w:val=\"Titel\"/>", "The Title"),
        paragraph("<w:pStyle w:val=\"berschrift2\"/>", "Part one"),
        "<w:p><w:r><w:t xml:space=\"preserve\">Kept </w:t></w:r><w:ins><w:r><w:t>inserted</w:t></w:r></w:ins>\
         <w:del><w:r><w:delText>deleted</w:delText></w:r></w:del><w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>\
         <w:r><w:t xml:space=\"preserve\"> text</w:t><w:footnoteReference w:id=\"1\"/>\
         <w:t xml:space=\"preserve\"> with a tab</w:t><w:tab/><w:t>here.</w:t></w:r>\
         <mc:AlternateContent><mc:Choice><w:drawing><w:txbxContent><w:p><w:r><w:t>Words in a box.</w:t></w:r></w:p>\
         </w:txbxContent></w:drawing></mc:Choice><mc:Fallback><w:p><w:r><w:t>Words in a box.</w:t></w:r></w:p>\
         </mc:Fallback></mc:AlternateContent></w:p>"
            .to_owned(),
        paragraph(&item(0, 1), "first"),
        paragraph(&item(1, 1), "inner"),
        paragraph(&item(0, 1), "second"),
        table(&[
            row(&[plain("Name"), plain("Price")]),
            row(&[plain("pen | ink"), plain("2")]),
            row(&[cell(&format!("{}{nested}", paragraph("", "book"))), plain("10")]),
        ]),
        table(&[row(&[plain("In a layout cell.")])]),
        paragraph("", "# no heading"),
    ];
    let document = format!(
        "<w:document><w:body>{}<w:sectPr/></w:body></w:document>",
        body.concat()
    );
    docx_package(document)
}

/// The parts beside the text.
fn docx_package(document: String) -> Parts {
    let styles = "<w:styles><w:style w:styleId=\"Titel\"><w:name w:val=\"Title\"/></w:style>\
        <w:style w:styleId=\"berschrift2\"><w:name w:val=\"heading 2\"/></w:style></w:styles>";
    let numbering = "<w:numbering><w:abstractNum w:abstractNumId=\"7\"><w:lvl w:ilvl=\"0\"><w:start w:val=\"3\"/>\
        <w:numFmt w:val=\"decimal\"/></w:lvl><w:lvl w:ilvl=\"1\"><w:numFmt w:val=\"bullet\"/></w:lvl></w:abstractNum>\
        <w:num w:numId=\"1\"><w:abstractNumId w:val=\"7\"/></w:num></w:numbering>";
    let notes = "<w:footnotes><w:footnote w:type=\"separator\" w:id=\"0\"><w:p/></w:footnote>\
        <w:footnote w:id=\"1\"><w:p><w:r><w:t>A note at the foot.</w:t></w:r></w:p></w:footnote></w:footnotes>";
    let comments =
        "<w:comments><w:comment><w:p><w:r><w:t>remark</w:t></w:r></w:p></w:comment></w:comments>";
    let header = "<w:hdr><w:p><w:r><w:t>On each page</w:t></w:r></w:p></w:hdr>";
    let links = relationships(&[
        ("r1", "styles", "styles.xml"),
        ("r2", "numbering", "numbering.xml"),
        ("r3", "footnotes", "footnotes.xml"),
        ("r4", "comments", "comments.xml"),
        ("r5", "header", "header1.xml"),
    ]);
    vec![
        (
            "_rels/.rels",
            relationships(&[("r1", "officeDocument", "word/document.xml")]),
        ),
        ("word/_rels/document.xml.rels", links),
        ("word/document.xml", document),
        ("word/styles.xml", styles.to_owned()),
        ("word/numbering.xml", numbering.to_owned()),
        ("word/footnotes.xml", notes.to_owned()),
        ("word/comments.xml", comments.to_owned()),
        ("word/header1.xml", header.to_owned()),
    ]
}

pub fn pptx() -> Vec<u8> {
    package(&pptx_parts())
}

pub fn pptx_parts() -> Parts {
    let shape = |role: &str, paragraphs: &str| {
        format!(
            "<p:sp><p:nvSpPr><p:nvPr>{role}</p:nvPr></p:nvSpPr><p:txBody>{paragraphs}</p:txBody></p:sp>"
        )
    };
    let paragraph = |text: &str| format!("<a:p><a:r><a:t>{text}</a:t></a:r></a:p>");
    let cell = |text: &str| format!("<a:tc><a:txBody>{}</a:txBody></a:tc>", paragraph(text));
    let row = |a: &str, b: &str| format!("<a:tr>{}{}</a:tr>", cell(a), cell(b));
    let title = |text: &str| shape("<p:ph type=\"title\"/>", &paragraph(text));
    let deeper = "<a:p><a:pPr lvl=\"1\"/><a:r><a:t>deeper</a:t></a:r></a:p>";
    let second = format!(
        "<p:sld><p:spTree>{}{}<p:graphicFrame><a:tbl>{}{}</a:tbl></p:graphicFrame>\
         <p:graphicFrame><c:chart r:id=\"c1\"/></p:graphicFrame>{}</p:spTree></p:sld>",
        title("Second in the file"),
        shape(
            "<p:ph idx=\"1\"/>",
            &format!("{}{deeper}", paragraph("point"))
        ),
        row("A", "B"),
        row("1", "2"),
        shape("<p:ph type=\"sldNum\"/>", &paragraph("7")),
    );
    let first = format!(
        "<p:sld><p:spTree>{}{}</p:spTree></p:sld>",
        title("First in the file"),
        shape("", &paragraph("A box."))
    );
    let hidden = format!(
        "<p:sld show=\"0\"><p:spTree>{}</p:spTree></p:sld>",
        title("Secret")
    );
    let notes = format!(
        "<p:notes><p:spTree>{}</p:spTree></p:notes>",
        shape("<p:ph type=\"body\"/>", &paragraph("Say this aloud."))
    );
    let chart = "<c:chartSpace><c:tx><c:strCache><c:pt><c:v>Series of a chart</c:v></c:pt></c:strCache></c:tx>\
        <c:val><c:numCache><c:pt><c:v>12</c:v></c:pt></c:numCache></c:val></c:chartSpace>";
    let slides = "<p:presentation><p:sldIdLst><p:sldId id=\"256\" r:id=\"s2\"/><p:sldId id=\"257\" r:id=\"s1\"/>\
        <p:sldId id=\"258\" r:id=\"s3\"/></p:sldIdLst></p:presentation>";
    let links = [
        ("s1", "slide", "slides/slide1.xml"),
        ("s2", "slide", "slides/slide2.xml"),
        ("s3", "slide", "slides/slide3.xml"),
    ];
    let beside = [
        ("n1", "notesSlide", "../notesSlides/notes2.xml"),
        ("c1", "chart", "../charts/chart1.xml"),
    ];
    vec![
        ("ppt/presentation.xml", slides.to_owned()),
        ("ppt/_rels/presentation.xml.rels", relationships(&links)),
        ("ppt/slides/slide1.xml", first),
        ("ppt/slides/slide2.xml", second),
        ("ppt/slides/slide3.xml", hidden),
        ("ppt/slides/_rels/slide2.xml.rels", relationships(&beside)),
        ("ppt/notesSlides/notes2.xml", notes),
        ("ppt/charts/chart1.xml", chart.to_owned()),
    ]
}

pub fn xlsx() -> Vec<u8> {
    package(&xlsx_parts())
}

pub fn xlsx_parts() -> Parts {
    let workbook = "<workbook><sheets><sheet name=\"Prices\" sheetId=\"1\" r:id=\"r1\"/>\
        <sheet name=\"Lists\" sheetId=\"2\" state=\"hidden\" r:id=\"r2\"/><sheet name=\"Text\" sheetId=\"3\" r:id=\"r3\"/></sheets></workbook>";
    let strings = "<sst><si><t>Item</t></si><si><r><t>Da</t></r><r><t>y</t></r><rPh><t>dei</t></rPh></si><si><t>Price</t></si>\
        <si><t>Share</t></si><si><t>pen</t></si><si><t>ink</t></si></sst>";
    let styles = "<styleSheet><numFmts><numFmt numFmtId=\"164\" formatCode=\"yyyy\\-mm\\-dd\"/></numFmts>\
        <cellStyleXfs><xf numFmtId=\"9\"/></cellStyleXfs>\
        <cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"164\"/><xf numFmtId=\"4\"/><xf numFmtId=\"9\"/></cellXfs></styleSheet>";
    let prices = "<worksheet><sheetData><row r=\"1\"><c r=\"A1\" t=\"inlineStr\"><is><t>Prices of May</t></is></c></row>\
        <row r=\"3\"><c r=\"A3\" t=\"s\"><v>0</v></c><c r=\"B3\" t=\"s\"><v>1</v></c><c r=\"D3\" t=\"s\"><v>2</v></c><c r=\"E3\" t=\"s\"><v>3</v></c></row>\
        <row r=\"4\"><c r=\"A4\" t=\"s\"><v>4</v></c><c r=\"B4\" s=\"1\"><v>45429</v></c><c r=\"D4\" s=\"2\"><f>1+2</f><v>1234.5</v></c><c r=\"E4\" s=\"3\"><v>0.25</v></c></row>\
        <row r=\"5\"><c r=\"A5\" t=\"s\"><v>5</v></c><c r=\"D5\" t=\"e\"><v>#DIV/0!</v></c><c r=\"E5\" t=\"b\"><v>1</v></c></row>\
        <row r=\"9\"><c r=\"B9\" t=\"str\"><v>Another table</v></c></row></sheetData>\
        <headerFooter><oddHeader>&amp;CSecret</oddHeader></headerFooter></worksheet>";
    let hidden = "<worksheet><sheetData><row><c t=\"inlineStr\"><is><t>hidden</t></is></c></row></sheetData></worksheet>";
    let text = "<worksheet><sheetData><row><c t=\"str\"><v>a</v></c><c t=\"str\"><v>b</v></c></row>\
        <row><c><v>0.30000000000000004</v></c><c t=\"str\"><f>\"sum: \"&amp;3</f><v>sum: 3</v></c></row></sheetData></worksheet>";
    let comments = "<comments><commentList><comment><text><t>remark</t></text></comment></commentList></comments>";
    let links = [
        ("r1", "worksheet", "worksheets/sheet1.xml"),
        ("r2", "worksheet", "worksheets/sheet2.xml"),
        ("r3", "worksheet", "worksheets/sheet3.xml"),
        ("r4", "sharedStrings", "sharedStrings.xml"),
        ("r5", "styles", "styles.xml"),
    ];
    vec![
        ("xl/workbook.xml", workbook.to_owned()),
        ("xl/_rels/workbook.xml.rels", relationships(&links)),
        ("xl/sharedStrings.xml", strings.to_owned()),
        ("xl/styles.xml", styles.to_owned()),
        ("xl/worksheets/sheet1.xml", prices.to_owned()),
        ("xl/worksheets/sheet2.xml", hidden.to_owned()),
        ("xl/worksheets/sheet3.xml", text.to_owned()),
        (
            "xl/worksheets/_rels/sheet1.xml.rels",
            relationships(&[("c", "comments", "../comments1.xml")]),
        ),
        ("xl/comments1.xml", comments.to_owned()),
    ]
}

fn content(styles: &str, body: &str) -> Parts {
    let text = format!(
        "<office:document-content><office:automatic-styles>{styles}</office:automatic-styles>\
         <office:body>{body}</office:body></office:document-content>"
    );
    vec![("content.xml", text)]
}

pub fn odt() -> Vec<u8> {
    package(&odt_parts())
}

pub fn odt_parts() -> Parts {
    let styles = "<text:list-style style:name=\"L1\"><text:list-level-style-number text:level=\"1\" style:num-format=\"1\"/>\
        <text:list-level-style-bullet text:level=\"2\"/></text:list-style>";
    let body = "<office:text><text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>\
        <text:h text:outline-level=\"1\">Head</text:h>\
        <text:p>Two<text:s text:c=\"2\"/>words<text:note><text:note-citation>1</text:note-citation><text:note-body>\
        <text:p>A foot note.</text:p></text:note-body></text:note> here<office:annotation><text:p>remark</text:p></office:annotation></text:p>\
        <text:list text:style-name=\"L1\"><text:list-item><text:p>one</text:p></text:list-item>\
        <text:list-item><text:p>two</text:p><text:list><text:list-item><text:p>inner</text:p></text:list-item></text:list>\
        </text:list-item></text:list>\
        <table:table><table:table-row><table:table-cell><text:p>h1</text:p></table:table-cell><table:table-cell><text:p>h2</text:p>\
        </table:table-cell></table:table-row><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell>\
        <table:table-cell><text:p>b</text:p></table:table-cell></table:table-row></table:table>\
        <text:p><draw:frame><draw:text-box><text:p>In a box.</text:p></draw:text-box></draw:frame></text:p></office:text>";
    content(styles, body)
}

pub fn ods() -> Vec<u8> {
    package(&ods_parts())
}

pub fn ods_parts() -> Parts {
    let styles = "<style:style style:name=\"ta2\"><style:table-properties table:display=\"false\"/></style:style>";
    let cell = |text: &str| format!("<table:table-cell><text:p>{text}</text:p></table:table-cell>");
    let empty = "<table:table-cell table:number-columns-repeated=\"16000\"/>";
    let body = format!(
        "<office:spreadsheet><table:table table:name=\"S1\"><table:table-row>{}{}{empty}</table:table-row>\
         <table:table-row table:number-rows-repeated=\"2\">{}{}</table:table-row>\
         <table:table-row table:number-rows-repeated=\"1048000\">{empty}</table:table-row></table:table>\
         <table:table table:name=\"S2\" table:style-name=\"ta2\"><table:table-row>{}</table:table-row></table:table></office:spreadsheet>",
        cell("x"),
        cell("y"),
        cell("12 %"),
        cell("2024-05-17"),
        cell("hidden"),
    );
    content(styles, &body)
}

pub fn odp() -> Vec<u8> {
    package(&odp_parts())
}

pub fn odp_parts() -> Parts {
    let frame = |class: &str, text: &str| {
        format!(
            "<draw:frame presentation:class=\"{class}\"><draw:text-box><text:p>{text}</text:p></draw:text-box></draw:frame>"
        )
    };
    let body = format!(
        "<office:presentation><draw:page>{}{}<presentation:notes>{}</presentation:notes></draw:page></office:presentation>",
        frame("title", "Slide title"),
        frame("outline", "Body text"),
        frame("notes", "Spoken words"),
    );
    content("", &body)
}

pub const RTF: &str = "{\\rtf1\\ansi\\ansicpg1252\\deff0{\\fonttbl{\\f0\\fcharset0 Arial;}{\\f1\\fcharset204 Arial;}{\\f2\\fcharset128 MS;}}\
    {\\stylesheet{\\s1 heading 1;}}{\\*\\generator x;}{\\header on each page\\par}\n\
    \\pard\\s1 Heading\\par\n\
    \\pard caf\\'e9 {\\f1\\'ef\\'f0\\'e8\\'e2\\'e5\\'f2} {\\f2\\'93\\'fa\\'96\\'7b} \\u-10179?\\u-8704? \\endash  {\\deleted gone}kept\
    {\\footnote A note.}{\\*\\annotation remark}{\\pict 0102ff}\\par\n\
    {\\listtext 1.\\tab}item\\par\n\
    \\trowd\\intbl a\\cell b\\cell\\row\\intbl c\\cell d\\cell\\row\\pard\n\
    last {\\field{\\*\\fldinst HYPERLINK x}{\\fldrslt link}}\\par}";

pub fn epub() -> Vec<u8> {
    package(&epub_parts())
}

pub fn epub_parts() -> Parts {
    let page = |title: &str, text: &str| {
        format!(
            "<?xml version=\"1.0\"?><html><head><title/></head><body><h1>{title}</h1><p><a id=\"x\"/>{text}</p></body></html>"
        )
    };
    let opf = "<package><metadata><dc:title>Book</dc:title></metadata><manifest>\
        <item id=\"b\" href=\"text/two%20b.xhtml\" media-type=\"application/xhtml+xml\"/>\
        <item id=\"a\" href=\"text/one.xhtml\" media-type=\"application/xhtml+xml\"/></manifest>\
        <spine><itemref idref=\"a\"/><itemref idref=\"b\"/></spine></package>";
    vec![
        (
            "META-INF/container.xml",
            "<container><rootfiles><rootfile full-path=\"OPS/book.opf\"/></rootfiles></container>"
                .to_owned(),
        ),
        ("OPS/book.opf", opf.to_owned()),
        ("OPS/text/two b.xhtml", page("Two", "Second chapter.")),
        ("OPS/text/one.xhtml", page("One", "First chapter.")),
    ]
}

pub const NOTEBOOK: &str = r##"{"cells": [
    {"cell_type": "markdown", "source": ["# Title\n", "\n", "words"]},
    {"cell_type": "code", "source": "print(1)", "outputs": [
        {"output_type": "stream", "text": ["1\n"]},
        {"output_type": "display_data", "data": {"image/png": "aGk="}},
        {"output_type": "error", "ename": "ValueError", "evalue": "\u001b[31mbad\u001b[0m", "traceback": []}
    ]}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}"##;

pub fn mail() -> String {
    [
        "From: =?iso-8859-1?Q?J=FCrgen?= <j@example.org>",
        "To: a@example.org",
        "Subject: =?utf-8?B?R3LDvMOfZQ==?=",
        "Date: Fri, 17 May 2024 10:00:00 +0200",
        "MIME-Version: 1.0",
        "Content-Type: multipart/mixed; boundary=m",
        "",
        "--m",
        "Content-Type: text/plain; charset=windows-1252",
        "Content-Transfer-Encoding: quoted-printable",
        "",
        "Der Preis =",
        "ist 5 =80.",
        "--m",
        "Content-Type: text/plain; name=notes.txt",
        "Content-Disposition: attachment; filename=notes.txt",
        "Content-Transfer-Encoding: base64",
        "",
        "YXR0YWNoZWQgd29yZHM=",
        "--m",
        "Content-Type: text/plain",
        "Content-Disposition: attachment; filename=\"../notes.txt\"",
        "",
        "other words",
        "--m",
        "Content-Type: image/png",
        "Content-Disposition: attachment; filename=photo.png",
        "Content-Transfer-Encoding: base64",
        "",
        "aGk=",
        "--m",
        "Content-Type: message/rfc822",
        "",
        "Subject: inner",
        "",
        "forwarded words",
        "--m--",
        "",
    ]
    .join("\r\n")
}
