{{- /* The sections of all pages, for assets/search.js. */ -}}
{{- $sections := slice -}}
{{- range $page := site.RegularPages.ByWeight -}}
  {{- $url := strings.TrimPrefix site.Home.RelPermalink $page.RelPermalink -}}
  {{- range $i, $part := split (replaceRE `<h3 id="` `<h2 id="` .Content) `<h2 id="` -}}
    {{- $section := dict "id" (len $sections) "page" $page.Params.label "title" $page.Params.label "url" $url -}}
    {{- with findRESubmatch `^(?s)([^"]*)">(.*?) <a class="?anchor"?.*?</h[23]>(.*)$` $part 1 -}}
      {{- $m := index . 0 -}}
      {{- $section = merge $section (dict "title" (index $m 2 | plainify | htmlUnescape) "url" (printf "%s#%s" $url (index $m 1))) -}}
      {{- $part = index $m 3 -}}
    {{- end -}}
    {{- $text := $part | replaceRE `(?s)<a class="?anchor"?.*?</a>` " " | replaceRE `</?(a|code|strong|em|span)\b[^>]*>` "" | replaceRE `<[^>]*>` " " | htmlUnescape | replaceRE `\s+` " " -}}
    {{- $sections = $sections | append (merge $section (dict "text" $text)) -}}
  {{- end -}}
{{- end -}}
window.sections = {{ $sections | jsonify }}
